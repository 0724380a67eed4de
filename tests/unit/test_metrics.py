from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from batch_conductor_service.metrics import Metrics
from batch_conductor_service.startup_setup import initialize_metrics

# Names and labels are an API: dashboards and alerts are written against them.
PINNED = {
    "bcs_http_requests_total": ("method", "endpoint", "status_code"),
    "bcs_http_request_duration_seconds": ("method", "endpoint"),
    "bcs_pipeline_resolutions_total": ("status", "pipeline"),
    "bcs_pipeline_resolution_duration_seconds": ("status",),
    "bcs_pipeline_config_load_success_total": (),
    "bcs_pipeline_config_load_error_total": (),
    "bcs_pipeline_rules_success_total": (),
    "bcs_pipeline_rules_error_total": (),
    "bcs_pipeline_rules_pruned_total": ("step",),
    "bcs_phase_skipped_events_total": ("step", "outcome"),
    "bcs_events_processed_total": ("event_type", "outcome"),
    "bcs_event_processing_seconds": ("event_type", "outcome"),
    "bcs_kafka_consumer_lag": ("topic", "partition"),
    "bcs_kafka_oldest_unread_record_age_seconds": (),
    "bcs_consumer_state": ("state",),
    "bcs_freshness_age_seconds": (),
    "bcs_kafka_uncommitted_records_deleted_total": ("topic", "partition"),
    "bcs_dlq_messages_total": ("topic", "reason", "outcome"),
    "bcs_redis_transaction_retries_total": ("outcome",),
    "bcs_redis_transactions_total": ("outcome",),
    "bcs_postgres_persistence_total": ("outcome",),
    "bcs_persistence_queue_depth": (),
    "bcs_persistence_worker_lag_seconds": (),
    "bcs_state_drift": (),
    "bcs_dependency_up": ("dependency",),
    "bcs_circuit_breaker_state": ("dependency",),
    "bcs_task_up": ("task",),
    "bcs_task_restarts_total": ("task",),
}


def declared(metrics: Metrics) -> dict[str, tuple[str, ...]]:
    found = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    suffix = {"counter": "_total"}
    return {
        description.name + suffix.get(description.type, ""): metric._labelnames
        for metric in found
        for description in metric.describe()
    }


def test_names_and_labels_are_those_agreed_on() -> None:
    assert declared(Metrics(CollectorRegistry())) == PINNED


def test_no_metric_has_an_id_for_a_label() -> None:
    labels = {label for names in declared(Metrics(CollectorRegistry())).values() for label in names}

    assert not [label for label in labels if label.endswith("_id")]


def test_every_metric_is_in_the_registry_given() -> None:
    registry = CollectorRegistry()

    initialize_metrics(registry)

    families = {family.name for family in registry.collect()}
    assert {name.removesuffix("_total") for name in PINNED} <= families


def test_two_applications_in_one_process_do_not_share_metrics() -> None:
    one, other = CollectorRegistry(), CollectorRegistry()
    metrics, _ = initialize_metrics(one), initialize_metrics(other)

    metrics.rules_success.inc()

    assert one.get_sample_value("bcs_pipeline_rules_success_total") == 1
    assert other.get_sample_value("bcs_pipeline_rules_success_total") == 0

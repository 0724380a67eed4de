from importlib.metadata import version

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.providers.metric_labels import pipelines_hash
from batch_conductor_service.startup_setup import initialize_metrics
from tests.support.api import TestedApp
from tests.support.builders import evidence, registration, update

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
    "bcs_degraded_answers_total": (),
    "bcs_phase_verdicts_total": ("verdict", "reason"),
    "bcs_phase_skipped_events_total": ("step", "outcome"),
    "bcs_skip_events_waiting": (),
    "bcs_skip_events_oldest_age_seconds": (),
    "bcs_events_processed_total": ("event_type", "outcome"),
    "bcs_event_processing_seconds": ("event_type", "outcome"),
    "bcs_times_not_believed_total": ("event_type",),
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
    "bcs_persistence_queue_bytes": (),
    "bcs_persistence_worker_lag_seconds": (),
    "bcs_batches_deleted_total": (),
    "bcs_state_drift": (),
    "bcs_dependency_up": ("dependency",),
    "bcs_circuit_breaker_state": ("dependency",),
    "bcs_task_up": ("task",),
    "bcs_task_restarts_total": ("task",),
    "bcs_build_info": ("version", "pipelines"),
}

OPEN_SETS = {"bcs_kafka_uncommitted_records_deleted_total"}  # partitions are the broker's to name


@pytest.fixture
def tested() -> TestedApp:
    """An application with its state in memory."""
    return TestedApp()


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


async def test_every_counter_of_a_closed_set_begins_at_zero(tested: TestedApp) -> None:
    async with tested.app.test_app():
        registry = await tested.container.get(CollectorRegistry)
        samples = [sample for family in registry.collect() for sample in family.samples]

    ours = [s for s in samples if s.name.startswith("bcs_") and s.name.endswith("_total")]
    counters = {name for name in PINNED if name.endswith("_total")} - OPEN_SETS
    assert {sample.name for sample in ours} == counters
    begun = {"bcs_pipeline_config_load_success_total"}
    assert {sample.name for sample in ours if sample.value} == begun


async def test_the_series_that_are_there_from_the_start_are_those_that_come(
    tested: TestedApp,
) -> None:
    """One more would be a series that begins with 1."""
    await tested.repository.apply([update("batch-1", registration(1), evidence("essay-1"))])
    async with tested.app.test_app():
        before = await series(tested)
        for pipeline in ("comprehensive", "spellcheck", "a typing error"):
            await tested.define(requested_pipeline=pipeline)
        await tested.define(batch_id="")
        await tested.client.get("/healthz")

        assert await series(tested) == before


async def series(tested: TestedApp) -> set[tuple[str, ...]]:
    """Return the series of our counters, by name and labels."""
    registry = await tested.container.get(CollectorRegistry)
    samples = [sample for family in registry.collect() for sample in family.samples]
    return {
        (sample.name, *map(str, sample.labels.items()))
        for sample in samples
        if sample.name.startswith("bcs_") and sample.name.endswith("_total")
    }


async def test_no_series_tells_when_another_was_made(tested: TestedApp) -> None:
    text = await (await tested.client.get("/metrics")).get_data(as_text=True)

    assert "bcs_http_requests_total" in text
    assert "_created" not in text


async def test_replicas_with_the_same_pipelines_show_the_same_hash(tested: TestedApp) -> None:
    catalog = await tested.container.get(PipelineCatalog)
    turned = PipelineCatalog(dict(reversed(list(catalog.pipelines.items()))))
    fewer = PipelineCatalog({"nlp": catalog.pipelines["nlp"]})
    same, other = pipelines_hash(turned), pipelines_hash(fewer)

    labels = {"version": version("batch-conductor-service"), "pipelines": same}
    assert await tested.sample("bcs_build_info", **labels) == 1
    assert other != same


def test_two_applications_in_one_process_do_not_share_metrics() -> None:
    one, other = CollectorRegistry(), CollectorRegistry()
    metrics, _ = initialize_metrics(one), initialize_metrics(other)

    metrics.rules_success.inc()

    assert one.get_sample_value("bcs_pipeline_rules_success_total") == 1
    assert other.get_sample_value("bcs_pipeline_rules_success_total") == 0

"""Every metric of the service; names and labels are an API. No id is ever a label.

Which values the labels have stands in `providers.metric_labels`; what every service measures,
in `service_libs.metrics`.
"""

from prometheus_client import CollectorRegistry

from service_libs.metrics import ConsumingMetrics, counter, gauge, histogram


class Metrics(ConsumingMetrics):
    """The metrics, registered in the registry given."""

    resolutions = counter(
        "bcs_pipeline_resolutions_total{status,pipeline}",
        "Pipelines resolved; `unknown` is any name that the file does not have.",
    )
    resolution_duration = histogram(
        "bcs_pipeline_resolution_duration_seconds{status}", "Time to resolve a pipeline."
    )
    config_load_success = counter(
        "bcs_pipeline_config_load_success_total", "Pipeline files loaded."
    )
    config_load_error = counter("bcs_pipeline_config_load_error_total", "Pipeline files refused.")

    rules_success = counter("bcs_pipeline_rules_success_total", "Rules applied to a pipeline.")
    rules_error = counter(
        "bcs_pipeline_rules_error_total",
        "Rules that refused a pipeline; any is a fault of the file or of ours.",
    )
    rules_pruned = counter(
        "bcs_pipeline_rules_pruned_total{step}", "Steps pruned as already complete."
    )
    # Degraded answers prune less, or nothing: phases run that need not.
    degraded_answers = counter(
        "bcs_degraded_answers_total", "Pipelines resolved without all that is known of the batch."
    )
    # A rise of `state_unknown` or `unreadable_event`, or no `skip` any more, asks for a person.
    phase_verdicts = counter(
        "bcs_phase_verdicts_total{verdict,reason}",
        "Phases of resolved pipelines by verdict and its reason.",
    )

    # outcome: published, failed (a try that the broker did not acknowledge), dropped (too many
    # waited, or there was no time left at the stop).
    phase_skipped_events = counter(
        "bcs_phase_skipped_events_total{step,outcome}",
        "PhaseSkipped events by what became of them.",
    )
    # A depth that does not come down means that the broker is away; when it is full, events
    # are dropped.
    skip_events_waiting = gauge(
        "bcs_skip_events_waiting", "PhaseSkipped events that the broker has not acknowledged."
    )
    oldest_skip_event_age = gauge(
        "bcs_skip_events_oldest_age_seconds",
        "Age of the oldest PhaseSkipped event that waits; 0 when none does.",
    )

    # outcome: applied, dead_lettered.
    events_processed = counter(
        "bcs_events_processed_total{event_type,outcome}", "Consumed events by what became of them."
    )
    event_processing = histogram(
        "bcs_event_processing_seconds{event_type,outcome}",
        "Time of a poll from its records to their effect in Redis, per event of the poll.",
    )

    # Above BCS_MAX_STALENESS_SECONDS nothing is pruned.
    freshness_age = gauge(
        "bcs_freshness_age_seconds",
        "How long ago it was that all that Kafka held was applied; +Inf if nobody knows.",
    )
    records_deleted = counter(
        "bcs_kafka_uncommitted_records_deleted_total{topic,partition}",
        "Records that the broker deleted before their offsets were committed.",
    )
    # A sender's clock is wrong, or a record is older than what it says.
    times_not_believed = counter(
        "bcs_times_not_believed_total{event_type}",
        "Consumed events whose own time was too far from that of their record.",
    )

    # outcome: of the retry's transaction in the end.
    redis_transaction_retries = counter(
        "bcs_redis_transaction_retries_total{outcome}",
        "Tries that lost against another writer, by how the transaction ended.",
    )
    # outcome: committed, contended (needed more than one try), fell_back (in the lane), failed.
    redis_transactions = counter(
        "bcs_redis_transactions_total{outcome}", "Transactions by how they ended."
    )
    postgres_persistence = counter(
        "bcs_postgres_persistence_total{outcome}",
        "Queue entries by whether Postgres took them; a failure is tried again.",
    )
    queue_depth = gauge("bcs_persistence_queue_depth", "Queue entries that Postgres has not.")
    queue_size = gauge(
        "bcs_persistence_queue_bytes", "Size of the queue entries that Postgres has not."
    )
    worker_lag = gauge(
        "bcs_persistence_worker_lag_seconds",
        "Age of the oldest change that Postgres has not; the one to alert on.",
    )
    batches_deleted = counter(
        "bcs_batches_deleted_total",
        "Batches deleted from Postgres since nothing was said of them for so long.",
    )
    # Anything but 0 is a fault of ours, or somebody changed a store by hand: `bcs audit`.
    state_drift = gauge(
        "bcs_state_drift",
        "Of the batches audited last, those that Redis and Postgres do not agree on.",
    )

    # Replicas with different pipelines give different answers.
    build_info = gauge(
        "bcs_build_info{version,pipelines}",
        "1, with the version of the service and a hash over all pipelines of its file.",
    )

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "bcs")

"""Every metric of the service; names and labels are an API. No id is ever a label.

Which values the labels have stands in `providers.metric_labels`; what every service measures,
in `service_libs.metrics`.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service_libs.metrics import HTTP_BUCKETS, ServiceMetrics


class Metrics(ServiceMetrics):
    """The metrics, registered in the registry given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "bcs")
        self._pipelines(registry)
        self._answers(registry)
        self._announcements(registry)
        self._events(registry)
        self._consumption(registry)
        self._storage(registry)
        self._build(registry)

    def _pipelines(self, registry: CollectorRegistry) -> None:
        self.resolutions = Counter(
            "bcs_pipeline_resolutions_total",
            "Pipelines resolved; `unknown` is any name that the file does not have.",
            ["status", "pipeline"],
            registry=registry,
        )
        self.resolution_duration = Histogram(
            "bcs_pipeline_resolution_duration_seconds",
            "Time to resolve a pipeline.",
            ["status"],
            buckets=HTTP_BUCKETS,
            registry=registry,
        )
        self.config_load_success = Counter(
            "bcs_pipeline_config_load_success_total", "Pipeline files loaded.", registry=registry
        )
        self.config_load_error = Counter(
            "bcs_pipeline_config_load_error_total", "Pipeline files refused.", registry=registry
        )

    def _answers(self, registry: CollectorRegistry) -> None:
        self.rules_success = Counter(
            "bcs_pipeline_rules_success_total", "Rules applied to a pipeline.", registry=registry
        )
        self.rules_error = Counter(
            "bcs_pipeline_rules_error_total",
            "Rules that refused a pipeline; any is a fault of the file or of ours.",
            registry=registry,
        )
        self.rules_pruned = Counter(
            "bcs_pipeline_rules_pruned_total",
            "Steps pruned as already complete.",
            ["step"],
            registry=registry,
        )
        # Degraded answers prune less, or nothing: phases run that need not.
        self.degraded_answers = Counter(
            "bcs_degraded_answers_total",
            "Pipelines resolved without all that is known of the batch.",
            registry=registry,
        )
        # A rise of `state_unknown` or `unreadable_event`, or no `skip` any more, asks for a person.
        self.phase_verdicts = Counter(
            "bcs_phase_verdicts_total",
            "Phases of resolved pipelines by verdict and its reason.",
            ["verdict", "reason"],
            registry=registry,
        )

    def _announcements(self, registry: CollectorRegistry) -> None:
        # outcome: published, failed (a try that the broker did not acknowledge), dropped (too many
        # waited, or there was no time left at the stop).
        self.phase_skipped_events = Counter(
            "bcs_phase_skipped_events_total",
            "PhaseSkipped events by what became of them.",
            ["step", "outcome"],
            registry=registry,
        )
        # A depth that does not come down means that the broker is away; when it is full, events
        # are dropped.
        self.skip_events_waiting = Gauge(
            "bcs_skip_events_waiting",
            "PhaseSkipped events that the broker has not acknowledged.",
            registry=registry,
        )
        self.oldest_skip_event_age = Gauge(
            "bcs_skip_events_oldest_age_seconds",
            "Age of the oldest PhaseSkipped event that waits; 0 when none does.",
            registry=registry,
        )

    def _events(self, registry: CollectorRegistry) -> None:
        # outcome: applied, dead_lettered.
        self.events_processed = Counter(
            "bcs_events_processed_total",
            "Consumed events by what became of them.",
            ["event_type", "outcome"],
            registry=registry,
        )
        self.event_processing = Histogram(
            "bcs_event_processing_seconds",
            "Time of a poll from its records to their effect in Redis, per event of the poll.",
            ["event_type", "outcome"],
            buckets=HTTP_BUCKETS,
            registry=registry,
        )

    def _consumption(self, registry: CollectorRegistry) -> None:
        # Of the whole group, whoever owns the partition; markers of transactions count, as they do
        # for Kafka. NaN while Kafka does not say.
        self.consumer_lag = Gauge(
            "bcs_kafka_consumer_lag",
            "Records that the partition has and the group has not yet committed; NaN if unknown.",
            ["topic", "partition"],
            registry=registry,
        )
        # High while nothing is consumed, or while what is consumed does not reach Postgres.
        self.oldest_unread_record_age = Gauge(
            "bcs_kafka_oldest_unread_record_age_seconds",
            "Age of the oldest record that the group has not yet committed; NaN if unknown.",
            registry=registry,
        )
        # One state is 1, the others 0.
        self.consumer_state = Gauge(
            "bcs_consumer_state", "What the consumer is doing.", ["state"], registry=registry
        )
        # Above BCS_MAX_STALENESS_SECONDS nothing is pruned.
        self.freshness_age = Gauge(
            "bcs_freshness_age_seconds",
            "How long ago it was that all that Kafka held was applied; +Inf if nobody knows.",
            registry=registry,
        )
        self.records_deleted = Counter(
            "bcs_kafka_uncommitted_records_deleted_total",
            "Records that the broker deleted before their offsets were committed.",
            ["topic", "partition"],
            registry=registry,
        )
        # A sender's clock is wrong, or a record is older than what it tells.
        self.times_not_believed = Counter(
            "bcs_times_not_believed_total",
            "Consumed events whose own time was too far from that of their record.",
            ["event_type"],
            registry=registry,
        )

    def _storage(self, registry: CollectorRegistry) -> None:
        # outcome: of the retry's transaction in the end.
        self.redis_transaction_retries = Counter(
            "bcs_redis_transaction_retries_total",
            "Tries that lost against another writer, by how the transaction ended.",
            ["outcome"],
            registry=registry,
        )
        # outcome: committed, contended (needed more than one try), fell_back (in the lane), failed.
        self.redis_transactions = Counter(
            "bcs_redis_transactions_total",
            "Transactions by how they ended.",
            ["outcome"],
            registry=registry,
        )
        self.postgres_persistence = Counter(
            "bcs_postgres_persistence_total",
            "Queue entries by whether Postgres took them; a failure is tried again.",
            ["outcome"],
            registry=registry,
        )
        self.queue_depth = Gauge(
            "bcs_persistence_queue_depth", "Queue entries that Postgres has not.", registry=registry
        )
        self.queue_size = Gauge(
            "bcs_persistence_queue_bytes",
            "Size of the queue entries that Postgres has not.",
            registry=registry,
        )
        self.worker_lag = Gauge(
            "bcs_persistence_worker_lag_seconds",
            "Age of the oldest change that Postgres has not; the one to alert on.",
            registry=registry,
        )
        self.batches_deleted = Counter(
            "bcs_batches_deleted_total",
            "Batches deleted from Postgres since nothing was said of them for so long.",
            registry=registry,
        )
        # Anything but 0 is a fault of ours, or somebody changed a store by hand: `bcs audit`.
        self.state_drift = Gauge(
            "bcs_state_drift",
            "Of the batches audited last, those that Redis and Postgres do not agree on.",
            registry=registry,
        )

    def _build(self, registry: CollectorRegistry) -> None:
        # Replicas with different pipelines give different answers.
        self.build_info = Gauge(
            "bcs_build_info",
            "1, with the version of the service and a hash over all pipelines of its file.",
            ["version", "pipelines"],
            registry=registry,
        )

"""Every metric of the service; names and labels are an API. No id is ever a label."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service_libs.metrics import HTTP_BUCKETS, ServiceMetrics


class Metrics(ServiceMetrics):
    """The metrics, registered in the registry given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "bos")
        self._runs(registry)
        self._messages(registry)

    def _runs(self, registry: CollectorRegistry) -> None:
        # decision: as in the audit. `too_many_waiting` means that somebody clicks in vain.
        self.requests = Counter(
            "bos_requests_total",
            "Requests for pipelines by what was decided.",
            ["decision"],
            registry=registry,
        )
        # effect: moved, or why an outcome moved nothing. A rise of `foreign` asks for a person.
        self.outcomes = Counter(
            "bos_phase_outcomes_total",
            "Phase outcomes consumed by what they did.",
            ["effect"],
            registry=registry,
        )
        self.runs_ended = Counter(
            "bos_runs_ended_total", "Runs that ended, by how.", ["state"], registry=registry
        )
        # outcome: planned, nothing_to_do, rejected, postponed. The last means that BCS is away.
        self.resolutions = Counter(
            "bos_resolutions_total",
            "Questions to BCS by what became of the run.",
            ["outcome"],
            registry=registry,
        )
        self.resolution_duration = Histogram(
            "bos_resolution_duration_seconds",
            "Time of a question to BCS, its tries together.",
            buckets=HTTP_BUCKETS,
            registry=registry,
        )
        # Above 0 a person has to look: `bos resend`, `bos cancel`.
        self.stalled_phases = Gauge(
            "bos_stalled_phases", "Phases whose outcome is overdue.", registry=registry
        )

    def _messages(self, registry: CollectorRegistry) -> None:
        self.events_processed = Counter(
            "bos_events_processed_total",
            "Consumed events by what became of them.",
            ["event_type", "outcome"],
            registry=registry,
        )
        self.outbox_depth = Gauge(
            "bos_outbox_depth", "Messages that the broker has not.", registry=registry
        )
        self.outbox_age = Gauge(
            "bos_outbox_oldest_age_seconds",
            "Age of the oldest message that the broker has not; the one to alert on.",
            registry=registry,
        )
        self.messages_sent = Counter(
            "bos_messages_sent_total",
            "Messages by whether the broker took them; a failure is tried again.",
            ["outcome"],
            registry=registry,
        )
        # One state is 1, the others 0.
        self.consumer_state = Gauge(
            "bos_consumer_state", "What the consumer is doing.", ["state"], registry=registry
        )

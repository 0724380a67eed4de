"""Every metric of the service; names and labels are an API. No id is ever a label."""

from prometheus_client import CollectorRegistry

from service_libs.metrics import ConsumingMetrics, counter, gauge, histogram


class Metrics(ConsumingMetrics):
    """The metrics, registered in the registry given."""

    # decision: as in the audit. `too_many_waiting` means that somebody clicks in vain.
    requests = counter(
        "bos_requests_total{decision}", "Requests for pipelines by what was decided."
    )
    # effect: moved, or why an outcome moved nothing. A rise of `foreign` asks for a person.
    outcomes = counter(
        "bos_phase_outcomes_total{effect}", "Phase outcomes consumed by what they did."
    )
    runs_ended = counter("bos_runs_ended_total{state}", "Runs that ended, by how.")
    # outcome: planned, nothing_to_do, rejected, and three that wait: postponed (BCS is away),
    # degraded (it doubts), fault (it refuses, fails or answers nonsense: somebody has to look).
    resolutions = counter(
        "bos_resolutions_total{outcome}", "Questions to BCS by what became of the run."
    )
    resolution_duration = histogram(
        "bos_resolution_duration_seconds", "Time of a question to BCS, its tries together."
    )
    # Above 0 a person has to look: `bos resend`, `bos cancel`.
    stalled_phases = gauge("bos_stalled_phases", "Phases whose outcome is overdue.")

    events_processed = counter(
        "bos_events_processed_total{event_type,outcome}",
        "Consumed events by what became of them.",
    )
    outbox_depth = gauge("bos_outbox_depth", "Messages that the broker has not.")
    outbox_age = gauge(
        "bos_outbox_oldest_age_seconds",
        "Age of the oldest message that the broker has not; the one to alert on.",
    )
    messages_sent = counter(
        "bos_messages_sent_total{outcome}",
        "Messages by whether the broker took them; a failure is tried again.",
    )
    # kind: runs, batches, notes (of the audit, and outcomes that moved nothing).
    deleted = counter("bos_deleted_total{kind}", "What was deleted, for it was old.")

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "bos")

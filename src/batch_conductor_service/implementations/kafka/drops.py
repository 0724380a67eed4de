"""Counting what was given up before it was sent: too much waited, or the process had to end."""

from collections.abc import Sequence

from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import StepName
from common_core.topics import RESOLUTION_BASE_TOPIC, dlq_topic_name


class AnnouncementDrops:
    """Counts dropped announcements beside those that were published or failed."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def count_skips(self, steps: Sequence[StepName]) -> None:
        for step in steps:
            self._metrics.phase_skipped_events.labels(step, "dropped").inc()

    def count_failure(self, reason: str) -> None:
        topic = dlq_topic_name(RESOLUTION_BASE_TOPIC)
        self._metrics.dlq_messages.labels(topic, reason, "dropped").inc()

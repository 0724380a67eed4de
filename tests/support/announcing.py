"""Who an announcer speaks to, as far as a test has to control it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter

from batch_conductor_service.domain.resolution import SkippedPhase
from batch_conductor_service.metrics import Metrics
from service_libs.exceptions import BrokerUnavailableError, TransientError

END_SECONDS = 10


class ControlledSkips:
    """Keeps the events of each call; some steps fail, or all the next calls, or it breaks."""

    def __init__(self) -> None:
        self.calls: list[list[SkippedPhase]] = []
        self.published: list[SkippedPhase] = []
        self.failures = 0
        self.failing_steps: set[str] = set()
        self.fault: Exception | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    @property
    def batches(self) -> list[str]:
        """The batches of the published events, in order."""
        return [event.batch_id for event in self.published]

    async def publish_skips(self, events: Sequence[SkippedPhase]) -> Mapping[UUID, TransientError]:
        """Answer as told."""
        self.calls.append(list(events))
        await self.may_answer.wait()
        if self.fault:
            raise self.fault
        late = [e for e in events if self.failures or e.step in self.failing_steps]
        self.failures = max(0, self.failures - 1)
        self.published += [event for event in events if event not in late]
        return {event.event_id: BrokerUnavailableError() for event in late}


class CountedDrops:
    """What was dropped, as the metrics say: each as often as it was counted, by name."""

    def __init__(self) -> None:
        self.metrics = Metrics(CollectorRegistry())

    @property
    def steps(self) -> list[str]:
        """The steps of the dropped skip events."""
        return _dropped(self.metrics.phase_skipped_events, "step")

    @property
    def reasons(self) -> list[str]:
        """The reasons of the dropped letters."""
        return _dropped(self.metrics.dlq_messages, "reason")


def _dropped(counter: Counter, label: str) -> list[str]:
    samples = [sample for metric in counter.collect() for sample in metric.samples]
    return sorted(
        sample.labels[label]
        for sample in samples
        if sample.name.endswith("_total") and sample.labels["outcome"] == "dropped"
        for _ in range(int(sample.value))
    )


class Stoppable(Protocol):
    """What runs until it is stopped."""

    async def run(self) -> None:
        """Run until `stop`, and then to the end of what is left."""
        ...

    def stop(self) -> None:
        """Have `run` come to its end."""
        ...


@asynccontextmanager
async def running_to_its_end(task: Stoppable) -> AsyncIterator[None]:
    """Run the task; at the end it has told what there was to tell."""
    run = asyncio.create_task(task.run())
    try:
        yield
    finally:
        task.stop()
        await asyncio.wait_for(run, END_SECONDS)

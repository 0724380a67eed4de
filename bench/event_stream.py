"""Events of many batches, sent by a process of their own; and when they are done with.

Done with is an event when its offset is committed: then Postgres holds what it says.
"""

import asyncio
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, TopicPartition

from common_core.topics import EventName
from tests.support.builders import RecordedEvent, assessed, recorded

GROUP = "bcs-event-consumer"
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 60.0  # without any progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What is sent.

    Attributes:
        kind: `thin`: one event for each essay, keyed by essay; `assessments`: one for each batch.
        name: what the ids of the batches begin with.
        first: the number of the first batch.
        at_once: the events of so many batches come shuffled.
    """

    kind: Literal["thin", "assessments"] = "thin"
    name: str
    batches: int
    first: int = 0
    essays: int = 100
    at_once: int = 200

    @property
    def essays_in_all(self) -> int:
        """How many essays the events are about."""
        return self.batches * self.essays

    @property
    def batch_ids(self) -> list[str]:
        """The batches."""
        return [f"{self.name}-{n}" for n in range(self.first, self.first + self.batches)]

    def essay_ids(self, batch: int) -> list[str]:
        """Return the essays of a batch; no two batches share one."""
        return [f"{self.name}-{batch}-essay-{number}" for number in range(self.essays)]

    def places(self) -> Iterator[list[tuple[str, str]]]:
        """Yield the batches and essays of thin events, in the order in which they come."""
        chance = random.Random(self.name)  # noqa: S311 - the same order in each run
        for batches in self._windows():
            places = [(f"{self.name}-{n}", essay) for n in batches for essay in self.essay_ids(n)]
            chance.shuffle(places)
            yield places

    def windows(self) -> Iterator[list[RecordedEvent]]:
        """Yield the events that come shuffled, one window after the other."""
        now = datetime.now(UTC)
        if self.kind == "thin":
            for places in self.places():
                yield [_thin(batch_id, essay_id, now) for batch_id, essay_id in places]
            return
        for batches in self._windows():
            yield [assessed(f"{self.name}-{n}", self.essay_ids(n), at=now) for n in batches]

    def _windows(self) -> Iterator[range]:
        end = self.first + self.batches
        for first in range(self.first, end, self.at_once):
            yield range(first, min(first + self.at_once, end))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """When the first was sent (monotonic seconds), and from and to which offset it is."""

    began_at: float
    firsts: dict[TopicPartition, int]
    ends: dict[TopicPartition, int]


def send(kafka: str, stream: Stream) -> Sent:
    """Send the events from a process of their own; return when the broker has them all."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.event_sender"],
        input=pickle.dumps((kafka, stream)),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace"))
    sent: Sent = pickle.loads(done.stdout)  # noqa: S301 - from the process that we started
    return sent


async def committed(kafka: str, ends: dict[TopicPartition, int]) -> float:
    """Return when the service's group had committed all of them, in monotonic seconds.

    Raises:
        TimeoutError: for a minute nothing more was committed.
    """
    # It asks for the group's offsets, and joins nothing.
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=GROUP, enable_auto_commit=False)
    await consumer.start()
    try:
        waiting, seen, progress_at = dict(ends), dict[TopicPartition, int](), time.monotonic()
        while waiting:
            if time.monotonic() > progress_at + PATIENCE_SECONDS:
                raise TimeoutError(f"Of {ends} are committed: {seen}")
            for partition, end in list(waiting.items()):
                offset = await consumer.committed(partition) or 0
                if offset != seen.get(partition):
                    seen[partition], progress_at = offset, time.monotonic()
                if offset >= end:
                    del waiting[partition]
            await asyncio.sleep(LOOK_SECONDS if waiting else 0)
        return time.monotonic()
    finally:
        await consumer.stop()


def _thin(batch_id: str, essay_id: str, at: datetime) -> RecordedEvent:
    data = {
        "entity_id": essay_id,
        "batch_id": batch_id,
        "correlation_id": str(uuid4()),
        "status": "completed",
        "corrected_text_storage_id": f"corrected-{essay_id}",
        "error_code": None,
        "processing_duration_ms": 120,
        "timestamp": at.isoformat(),
    }
    return recorded(EventName.SPELLCHECK_PHASE_COMPLETED, essay_id, data, at)

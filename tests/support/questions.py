"""Histories of `batch` as bytes, and the question about it: decoded, bounded, applied, judged."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from batch_conductor_service.config import Settings
from batch_conductor_service.consuming.handling import PollHandler
from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.domain.resolution import Resolution, ResolutionRequest
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId
from batch_conductor_service.protocols import (
    BatchStateRepositoryProtocol,
)
from batch_conductor_service.resolving.pipeline_resolution import DefaultPipelineResolutionService
from batch_conductor_service.startup_setup import build_container
from service_libs.kafka.policy import DeadLetterLimit
from service_libs.kafka.records import ConsumedRecord, Record
from service_libs.settings import Environment
from tests.support.builders import (
    RecordedEvent,
    assessed,
    minutes,
    phase_outcome,
    registered,
    spellchecked,
)
from tests.support.consuming import ControlledDlq
from tests.support.pipelines import DEPENDENCIES, PIPELINES_FILE

T = TypeVar("T")


class SettableClock:
    """A clock that shows what it is told to."""

    def __init__(self, time: datetime) -> None:
        self.time = time

    def now(self) -> datetime:
        return self.time


class Listener:
    """A service that hears records one by one, and answers from what it has heard.

    Attributes:
        letters: the records that it could not read, as reasons.
    """

    def __init__(
        self,
        now: datetime,
        repository: BatchStateRepositoryProtocol,
        answers: DefaultPipelineResolutionService,
    ) -> None:
        self.clock = SettableClock(now)
        self._answers = answers
        self._dlq = ControlledDlq()
        self._heard = 0
        policy = ConsumerPolicy(
            bootstrap_servers="", group_id="group", dlq_limit=DeadLetterLimit(max_invalid_ratio=1)
        )
        metrics = Metrics(CollectorRegistry())
        self._handler = PollHandler(
            repository, self._dlq, policy, metrics, self.clock, DEPENDENCIES
        )

    @property
    def letters(self) -> list[str]:
        return [letter.reason for letter in self._dlq.letters]

    async def hear(self, *events: RecordedEvent, recorded_at: datetime | None = None) -> None:
        """Take in the events, recorded now unless it is said when."""
        for event in events:
            time = recorded_at or self.clock.now()
            await self._handler.handle([_record(event, self._heard, time)], _at_once)
            self._heard += 1

    async def ask(self, pipeline: str, essays_total: int | None = None) -> Resolution:
        """Return the answer about `batch`."""
        request = ResolutionRequest(
            batch_id=BatchId("batch"),
            requested_pipeline=pipeline,
            correlation_id="correlation",
            essays_total=essays_total,
        )
        return await self._answers.resolve(request)

    async def reasons(self, pipeline: str, essays_total: int | None = None) -> Mapping[str, str]:
        """Return why each step of the pipeline runs or is skipped."""
        resolution = await self.ask(pipeline, essays_total)
        return {str(phase.step.name): phase.reason.value for phase in resolution.phases}


async def _at_once(attempt: Callable[[], Awaitable[T]]) -> T:
    return await attempt()


def _record(event: RecordedEvent, offset: int, time: datetime) -> Record:
    return ConsumedRecord(
        topic=event.topic,
        partition=0,
        offset=offset,
        timestamp=round(time.timestamp() * 1000),
        key=event.key,
        value=event.value,
        headers=[],
    )


Said = Callable[..., RecordedEvent]  # takes the time at which its sender says it, as `at`


def registration(count: int, essays: Sequence[str] | None = None) -> Said:
    return partial(registered, "batch", count, essays=essays)


def spellcheck(essay: str = "essay-1", status: str = "completed") -> Said:
    return partial(spellchecked, "batch", essay, status)


def phase(
    name: str, essays: Sequence[str], failed: Sequence[str] = (), *, status: str | None = None
) -> Said:
    return partial(phase_outcome, "batch", essays, failed, phase=name, status=status)


def assessment(*essays: str) -> Said:
    return partial(assessed, "batch", essays)


def spoilt(said: Said, *, envelope: dict[str, Any] | None = None, **data: object) -> Said:
    """Return the event with other fields than its sender should send."""

    def say(at: datetime) -> RecordedEvent:
        event = said(at=at)
        whole = json.loads(event.value) | (envelope or {})
        whole["data"] |= data
        return event._replace(value=json.dumps(whole).encode())

    return say


class Story:
    """What a service hears, minute by minute."""

    def __init__(self, service: Listener) -> None:
        self.service = service

    async def at(self, minute: float, *events: Said, said_at: datetime | None = None) -> None:
        """Hear the events at that minute, by whose clock they were said unless it is said when."""
        self.service.clock.time = minutes(minute)
        await self.service.hear(*(event(at=said_at or minutes(minute)) for event in events))

    async def reasons(self, pipeline: str, essays_total: int | None = None) -> list[str]:
        """Return why each step of the pipeline runs or is skipped, in order."""
        return list((await self.service.reasons(pipeline, essays_total)).values())


@asynccontextmanager
async def telling() -> AsyncIterator[Story]:
    """Begin a story, told to a service whose state is in memory."""
    settings = Settings(environment=Environment.TESTING, pipeline_config_path=PIPELINES_FILE)
    container = build_container(settings)
    repository = await container.get(BatchStateRepositoryProtocol)
    answers = await container.get(DefaultPipelineResolutionService)
    yield Story(Listener(minutes(0), repository, answers))
    await container.close()

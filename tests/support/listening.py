"""A replica as far as it listens: the consumer, its freshness, and its look at the broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from prometheus_client import CollectorRegistry

from batch_conductor_service.consuming.group_freshness import FreshnessExchange, GroupFreshness
from batch_conductor_service.domain.resolution import Resolution, ResolutionRequest
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId
from batch_conductor_service.operating.progress import (
    ConsumerProgress,
    FreshnessProgress,
)
from batch_conductor_service.protocols import FreshnessBoardProtocol
from batch_conductor_service.resolving.pipeline_resolution import (
    DefaultPipelineResolutionService,
    DefaultPipelineRules,
)
from common_core.topics import consumed_topics
from service_libs.exceptions import HaltError
from service_libs.health import HealthMonitor
from service_libs.kafka.broker_look import KafkaBrokerLook
from service_libs.kafka.broker_watch import BrokerWatch, WatchPolicy
from service_libs.kafka.policy import DeadLetterLimit
from service_libs.kafka.progress import TopicProgress
from service_libs.memory.broker import MemoryBroker
from service_libs.protocols import BackgroundTaskProtocol
from service_libs.supervisor import Supervisor
from service_libs.timing import SystemClock
from tests.support.consuming import ControlledQueue, ControlledRepository
from tests.support.loops import MemoryBrokerLook, memory_connect, quick_policy, until
from tests.support.membership import consumer_with, policy_for
from tests.support.pipelines import service_catalog

STALENESS_SECONDS = 2.0
GRACE_SECONDS = 2.0
MEMORY_PACE = 0.05  # of those, where no broker is waited for


class Replica:
    """One of the group; what it applied is in a repository that all of them may share."""

    def __init__(
        self,
        servers: str,
        board: FreshnessBoardProtocol,
        repository: ControlledRepository,
        *,
        group_id: str,
        queue: ControlledQueue | None = None,
        memory: MemoryBroker | None = None,
    ) -> None:
        """Make a replica at the servers; or at a broker in memory, where all goes faster."""
        clock = SystemClock()
        limit = DeadLetterLimit(min_invalid_records=5, window=20)
        pace = 1 if memory is None else MEMORY_PACE
        policy = policy_for(servers) if memory is None else quick_policy()
        policy = replace(policy, group_id=group_id, dlq_limit=limit)
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.queue = queue
        self.consumer = consumer_with(
            policy,
            repository,
            queue=queue,
            metrics=metrics,
            connect=None if memory is None else memory_connect(memory, policy),
        )
        self.staleness_seconds = STALENESS_SECONDS * pace
        self.freshness = GroupFreshness(clock, max_staleness_seconds=self.staleness_seconds)
        self.look = (
            KafkaBrokerLook(servers, group_id, clock, timeout_seconds=3)
            if memory is None
            else MemoryBrokerLook(memory, group_id, clock)
        )
        self.watch = BrokerWatch(
            self.look,
            metrics,
            clock,
            WatchPolicy(
                topics=consumed_topics(),
                look_seconds=0.2 * pace,
                measure_seconds=0.5 * pace,
                forget_seconds=4,
            ),
            self.freshness.note_look,
        )
        self.exchange = FreshnessExchange(
            self.consumer.promises,
            board,
            self.freshness,
            metrics.freshness_age.set,
            interval_seconds=0.1 * pace,
        )
        self.monitor = HealthMonitor(
            [],
            Supervisor([], metrics),
            metrics,
            progress=[
                ConsumerProgress(self.consumer, self.freshness, grace_seconds=GRACE_SECONDS * pace),
                TopicProgress(self.watch, grace_seconds=GRACE_SECONDS * pace),
                FreshnessProgress(self.freshness, grace_seconds=GRACE_SECONDS * pace),
            ],
        )
        self._service = DefaultPipelineResolutionService(
            service_catalog(), DefaultPipelineRules(), repository, self.freshness
        )

    async def define(self, batch: str, pipeline: str = "spellcheck") -> Resolution:
        """Ask the one question."""
        return await self._service.resolve(
            ResolutionRequest(
                batch_id=BatchId(batch), requested_pipeline=pipeline, correlation_id="c"
            )
        )

    async def until_skipped(self, batch: str) -> None:
        """Return when the batch's spellcheck is skipped."""

        async def is_skipped() -> bool:
            return bool((await self.define(batch)).skipped)

        await until(is_skipped)

    async def until_judged(self, batch: str, reason: str) -> None:
        """Return when the spellcheck runs for that reason, and the answer is not degraded."""

        async def is_judged() -> bool:
            answer = await self.define(batch)
            return answer.phases[0].reason == reason and not answer.is_degraded

        await until(is_judged)

    async def until_doubted(self, batch: str) -> None:
        """Return when everything of the batch runs, because nobody knows."""

        async def is_doubted() -> bool:
            answer = await self.define(batch)
            return answer.is_degraded and answer.phases[0].reason == "state_unknown"

        await until(is_doubted)

    async def until_caused(self, *parts: str) -> None:
        """Return when the health names a cause with all these parts."""
        await until(
            lambda: any(all(part in cause for part in parts) for cause in self.monitor.causes)
        )

    def sample(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric."""
        return self.registry.get_sample_value(name, labels)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[asyncio.Task[None]]:
        """Run everything; give the consumer's task, which may halt."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.look.close)
            for task in (self.exchange, self.watch):
                beside = await stack.enter_async_context(_running(task))
                stack.callback(beside.cancel)
            yield await stack.enter_async_context(_running(self.consumer))


@asynccontextmanager
async def _running(task: BackgroundTaskProtocol) -> AsyncIterator[asyncio.Task[None]]:
    run = asyncio.create_task(task.run())
    try:
        yield run
    finally:
        task.stop()
        [error] = await asyncio.gather(asyncio.wait_for(run, 30), return_exceptions=True)
        if error is not None and not isinstance(error, HaltError | asyncio.CancelledError):
            raise error

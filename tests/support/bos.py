"""BOS's parts in this process, over a store in memory; BCS is the real application beside it."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from prometheus_client import CollectorRegistry

from batch_conductor_client import BatchConductorClient, ClientPolicy
from batch_orchestrator_service.consuming.facts import BatchFactsHandler, deadlines
from batch_orchestrator_service.consuming.requests import ClientBatchPipelineRequestHandler
from batch_orchestrator_service.domain.models import BatchState, Run
from batch_orchestrator_service.events.messages import OutgoingMessage
from batch_orchestrator_service.implementations.memory.runs import (
    MemoryOutbox,
    MemoryRuns,
    MemoryRunStore,
)
from batch_orchestrator_service.implementations.yaml_files.steps import PipelineFile
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.running.asking import Questions
from batch_orchestrator_service.running.planning import Planner
from batch_orchestrator_service.running.resolver import Resolver, ResolverPolicy
from batch_orchestrator_service.signals import Signals
from common_core.events import ELSBatchPhaseOutcomeV1, ProcessedEssay
from common_core.flow import (
    BatchEssaysReady,
    BatchRegistered,
    ClientBatchPipelineRequestV1,
    EssayText,
)
from tests.support.api import TestedApp
from tests.support.clocks import SettableClock
from tests.support.orchestrating import named
from tests.support.pipelines import PIPELINES_FILE

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)

# BCS may have to wait for the processor; a refusal is asked again after two seconds, which is not
# waited for.
PATIENCE_SECONDS = 1.9


class Orchestra:
    """BOS's handlers and resolver, asking BCS over its real routes."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        pipelines: Path = PIPELINES_FILE,
    ) -> None:
        file = PipelineFile(pipelines)
        self.bcs = TestedApp()
        self.clock = SettableClock(NOON)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.runs = MemoryRuns()
        self.signals = Signals()
        self.store = MemoryRunStore(self.runs, self.signals)
        self.outbox = MemoryOutbox(self.runs)
        deadline = deadlines(3600, {"nlp": 60})
        self.requests = ClientBatchPipelineRequestHandler(self.store, self.metrics, self.clock)
        self.facts = BatchFactsHandler(self.store, self.metrics, self.clock, deadline)
        self.client = BatchConductorClient(
            ClientPolicy(base_url="http://bcs", try_seconds=PATIENCE_SECONDS),
            transport=transport or httpx.ASGITransport(self.bcs.app),  # type: ignore[arg-type] # Quart's own types of ASGI
        )
        self.resolver = Resolver(
            self.store,
            Questions(
                self.client,
                Planner(file.steps, file.find_version),
                self.metrics,
                PATIENCE_SECONDS,
            ),
            self.metrics,
            self.clock,
            ResolverPolicy(lease=timedelta(seconds=10), deadline=deadline),
            self.signals,
        )

    async def make_ready(self, *essays: str, user: str = "teacher") -> None:
        """Have a class's batch registered, with its essays."""
        await self.facts.register(
            BatchRegistered(
                entity_id="batch-1",
                expected_essay_count=len(essays),
                essay_ids=essays,
                course_code="SV3",
                user_id=user,
                class_id="class-1",
            )
        )
        texts = [EssayText(essay_id=one, text_storage_id=f"original-{one}") for one in essays]
        await self.facts.take_ready_essays(
            BatchEssaysReady(batch_id="batch-1", ready_essays=tuple(texts))
        )

    async def request(self, name: str, pipeline: str = "nlp", **changes: object) -> None:
        """Have a click taken in."""
        fields = {
            "batch_id": "batch-1",
            "requested_pipeline": pipeline,
            "client_correlation_id": named(name),
            "user_id": "teacher",
            "request_id": named(name),
        }
        await self.requests.handle(ClientBatchPipelineRequestV1.model_validate(fields | changes))

    async def report(self, phase: str, *processed: str, run: Run | None = None) -> None:
        """Have the outcome of a phase taken in."""
        about = run or self.state.runs[-1]
        await self.facts.take_outcome(
            ELSBatchPhaseOutcomeV1(
                batch_id="batch-1",
                phase_name=phase,
                phase_status="completed_successfully",
                processed_essays=tuple(
                    ProcessedEssay(essay_id=one, text_storage_id=f"{phase}-{one}")
                    for one in processed
                ),
                failed_essay_ids=(),
                correlation_id=str(about.correlation_id),
            ),
            "",
        )

    @property
    def state(self) -> BatchState:
        """What is known of the batch."""
        return self.runs.states["batch-1"]

    @property
    def run(self) -> Run:
        """The newest run."""
        return self.state.runs[-1]

    @property
    def messages(self) -> Sequence[OutgoingMessage]:
        """All that is to be sent, in its order."""
        return [kept.message for kept in self.runs.kept.values()]

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.time += timedelta(seconds=seconds)

    def sample(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric."""
        return self.registry.get_sample_value(name, labels)


async def once(task: Resolver) -> None:
    """Run a background task for a moment, and stop it."""
    running = asyncio.create_task(task.run())
    await asyncio.sleep(0.1)
    task.stop()
    await running

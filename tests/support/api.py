"""The whole application in this process, over a state in memory that the test can set."""

import asyncio

from dishka import AsyncContainer, Provider, Scope
from prometheus_client import CollectorRegistry
from quart import Quart, Response
from quart.typing import TestClientProtocol

from batch_conductor_service.app import create_app
from batch_conductor_service.config import Settings
from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.resolution import Resolution, ResolutionRequest
from batch_conductor_service.implementations.memory.batch_state import MockBatchStateRepositoryImpl
from batch_conductor_service.models import BatchId, SummaryReading
from batch_conductor_service.protocols import (
    BatchStateRepositoryProtocol,
    ResolutionAnnouncerProtocol,
)
from batch_conductor_service.startup_setup import build_container
from service_libs.settings import Environment
from tests.support.pipelines import DEPENDENCIES, PIPELINES_FILE

DEFINE = "/internal/v1/pipelines/define"


class SwitchableRepository(MockBatchStateRepositoryImpl):
    """The repository in memory, which can be made to fail, or to hold its answers back."""

    def __init__(self) -> None:
        super().__init__(DEPENDENCIES)
        self.error: Exception | None = None
        self.reading: SummaryReading | None = None
        self.has_been_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def get_summary(self, batch_id: BatchId) -> SummaryReading:
        """Answer as told."""
        self.has_been_asked.set()
        await self.may_answer.wait()
        if self.error:
            raise self.error
        return self.reading or await super().get_summary(batch_id)

    async def get_state(self, batch_id: BatchId) -> BatchState:
        """Answer as told."""
        if self.error:
            raise self.error
        return await super().get_state(batch_id)


class RecordingAnnouncer:
    """Keeps what is to be told to others."""

    def __init__(self) -> None:
        self.resolutions: list[Resolution] = []
        self.failures: list[tuple[ResolutionRequest, Exception]] = []
        self.has_room = asyncio.Event()
        self.has_room.set()

    async def wait_for_room(self) -> None:
        """Wait until the test makes room."""
        await self.has_room.wait()

    def announce(self, resolution: Resolution) -> None:
        """Keep it."""
        self.resolutions.append(resolution)

    def announce_failure(self, request: ResolutionRequest, error: Exception) -> None:
        """Keep it."""
        self.failures.append((request, error))


class TestedApp:
    """An application of its own for one test."""

    __test__ = False

    def __init__(self, *overrides: Provider, **changes: object) -> None:
        values = {
            "environment": Environment.TESTING,
            "pipeline_config_path": PIPELINES_FILE,
        } | changes
        self.settings = Settings.model_validate(values)
        self.repository = SwitchableRepository()
        self.announcer = RecordingAnnouncer()
        replaced = Provider(scope=Scope.APP)
        replaced.provide(lambda: self.repository, provides=BatchStateRepositoryProtocol)
        replaced.provide(lambda: self.announcer, provides=ResolutionAnnouncerProtocol)
        self.container: AsyncContainer = build_container(self.settings, replaced, *overrides)
        self.app: Quart = create_app(self.settings, self.container)

    @property
    def client(self) -> TestClientProtocol:
        """A caller."""
        return self.app.test_client()

    async def define(self, **fields: object) -> Response:
        """Ask the one question, with the fields given instead of the usual ones."""
        question = {"batch_id": "batch-1", "requested_pipeline": "cj_assessment"} | fields
        return await self.client.post(DEFINE, json=question)

    async def sample(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric."""
        registry = await self.container.get(CollectorRegistry)
        return registry.get_sample_value(name, labels)


def assert_problem(response: Response, body: dict[str, object], status: int, code: str) -> None:
    """Check what every problem has."""
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"urn:bcs:problem:{code}"
    assert body["title"]
    assert body["detail"]
    assert body["correlation_id"] == response.headers["X-Correlation-ID"]

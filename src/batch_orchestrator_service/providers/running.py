"""What has runs go on: planning, sending, and the looks at what is overdue and what is old."""

from collections.abc import AsyncIterator
from datetime import timedelta

from dishka import AnyOf, Provider, Scope, provide

from batch_conductor_client import (
    BatchConductorClient,
    BatchConductorClientProtocol,
    ClientPolicy,
)
from batch_orchestrator_service.config import Settings
from batch_orchestrator_service.domain.advancing import Deadline
from batch_orchestrator_service.implementations.yaml_files.steps import PipelineFile
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.operating.retention import Retention
from batch_orchestrator_service.running.asking import Questions
from batch_orchestrator_service.running.planning import Planner
from batch_orchestrator_service.running.relay import Relay
from batch_orchestrator_service.running.resolver import Resolver, ResolverPolicy
from batch_orchestrator_service.running.watch import OverdueWatch
from service_libs.protocols import (
    BackgroundTaskProtocol,
)
from service_libs.retention import RetentionPolicy

LEASE_FACTOR = 2.5  # BCS is asked twice at most, for the plan and for the texts


class RunningProvider(Provider):
    """What has runs go on: planning, sending, the look at what is overdue and at what is old."""

    scope = Scope.APP

    resolver = provide(Resolver, provides=AnyOf[Resolver, BackgroundTaskProtocol])
    retention = provide(Retention, provides=BackgroundTaskProtocol)
    watch = provide(OverdueWatch, provides=BackgroundTaskProtocol)
    relay = provide(Relay, provides=AnyOf[Relay, BackgroundTaskProtocol])

    @provide
    def planner(self, settings: Settings) -> Planner:
        file = PipelineFile(settings.pipeline_config_path)
        return Planner(file.steps, file.find_version)

    @provide
    def questions(
        self,
        bcs: BatchConductorClientProtocol,
        planner: Planner,
        metrics: Metrics,
        settings: Settings,
    ) -> Questions:
        return Questions(bcs, planner, metrics, settings.bcs_timeout)

    @provide
    def retention_policy(self, settings: Settings) -> RetentionPolicy:
        return RetentionPolicy(days=settings.retention_days)

    @provide
    def policy(self, settings: Settings, deadline: Deadline) -> ResolverPolicy:
        return ResolverPolicy(
            lease=timedelta(seconds=LEASE_FACTOR * settings.bcs_timeout),
            deadline=deadline,
            max_resolutions=settings.max_resolutions,
        )

    @provide
    async def client(
        self, settings: Settings, metrics: Metrics
    ) -> AsyncIterator[BatchConductorClientProtocol]:
        policy = ClientPolicy(base_url=settings.bcs_base_url, token=settings.bcs_service_token)
        show = metrics.circuit_breaker_state.labels("bcs").set
        client = BatchConductorClient(policy, show_breaker=show)
        yield client
        await client.close()

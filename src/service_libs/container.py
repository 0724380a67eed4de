"""The container of a service: what every one has in it, and how it is made and held complete."""

from collections.abc import Sequence

from dishka import AnyOf, AsyncContainer, Provider, Scope, collect, make_async_container, provide
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector
from pydantic_settings import BaseSettings

from service_libs.health import HealthMonitor, ProbePolicy
from service_libs.metrics import ServiceMetrics
from service_libs.protocols import (
    BackgroundTaskProtocol,
    ClockProtocol,
    HealthProbeProtocol,
    ProgressProtocol,
)
from service_libs.supervisor import RestartPolicy, Supervisor
from service_libs.timing import SystemClock


class OversightProvider(Provider):
    """Time, and what watches over the tasks and the dependencies that the service provides."""

    scope = Scope.APP

    clock = provide(SystemClock, provides=ClockProtocol)
    tasks = collect(BackgroundTaskProtocol, provides=Sequence[BackgroundTaskProtocol])
    progress = collect(ProgressProtocol, provides=Sequence[ProgressProtocol])
    probes = collect(HealthProbeProtocol, provides=Sequence[HealthProbeProtocol])
    supervisor = provide(Supervisor)
    monitor = provide(HealthMonitor)

    @provide(provides=AnyOf[RestartPolicy | None, ProbePolicy | None])
    def no_other_policy(self) -> None:
        return None


def measure_process(registry: CollectorRegistry) -> None:
    """Have the registry measure the process; no metric in it has a `_created` series."""
    disable_created_metrics()
    ProcessCollector(registry=registry)


def make_container(
    settings: BaseSettings, metrics: ServiceMetrics, providers: Sequence[Provider]
) -> AsyncContainer:
    """Return the container; it validates its graph and opens nothing. Later providers win."""
    context = {
        type(settings): settings,
        CollectorRegistry: metrics.registry,
        type(metrics): metrics,
    }
    return make_async_container(*providers, context=context)


async def make_all(container: AsyncContainer, parts: Sequence[object]) -> None:
    """Make the parts, and all that they need; connects to nothing.

    Raises:
        ServiceError: one cannot be made, as of these settings.
    """
    for part in parts:
        await container.get(part)

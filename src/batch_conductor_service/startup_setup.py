"""From settings to a running service and back: the container, the start order, the stop order."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import structlog
from dishka import AsyncContainer, Provider, make_async_container
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

from batch_conductor_service.config import Settings
from batch_conductor_service.di import make_providers
from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.providers.metric_labels import show_closed_sets
from batch_conductor_service.providers.policies import CLOSE_SHARE, TASKS_SHARE
from service_libs.exceptions import UncleanShutdownError, UnfitStoreError
from service_libs.health import STORES, HealthMonitor
from service_libs.protocols import HealthProbeProtocol
from service_libs.supervisor import Supervisor

START_PROBE_SECONDS = 2  # for a store to answer, before the service starts without it

logger = structlog.get_logger(__name__)


def initialize_metrics(registry: CollectorRegistry) -> Metrics:
    """Register every metric of the service and of its process; counters begin at 0.

    The pipelines' own follow with the pipelines.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call] # it has no annotation
    ProcessCollector(registry=registry)
    metrics = Metrics(registry)
    show_closed_sets(metrics)
    return metrics


def build_container(settings: Settings, *overrides: Provider) -> AsyncContainer:
    """Return the container; it validates its graph and opens nothing. Later providers win."""
    registry = CollectorRegistry()
    context = {
        Settings: settings,
        CollectorRegistry: registry,
        Metrics: initialize_metrics(registry),
    }
    return make_async_container(*make_providers(settings), *overrides, context=context)


async def check_configuration(container: AsyncContainer) -> None:
    """Make everything that the service consists of; connects to nothing.

    Raises:
        PipelineConfigurationError: the pipeline file has faults.
        SettingsError: a setting is bad in a way that only its user can see.
    """
    for part in (PipelineCatalog, HealthMonitor, Supervisor):
        await container.get(part)


async def refuse_unfit_stores(container: AsyncContainer) -> None:
    """Ask each store that answers whether it can hold what it must; one that is away is no fault.

    Raises:
        UnfitStoreError: it cannot. One that answers only later says so in its health.
    """
    probes = await container.get(Sequence[HealthProbeProtocol])
    asking = [_ask(probe) for probe in probes if probe.name in STORES]
    for answer in await asyncio.gather(*asking, return_exceptions=True):
        if isinstance(answer, UnfitStoreError):
            raise answer


async def _ask(probe: HealthProbeProtocol) -> None:
    async with asyncio.timeout(START_PROBE_SECONDS):
        await probe.ping()


async def lifespan(container: AsyncContainer) -> AsyncGenerator[None, None]:
    """Start what runs beside the requests, and stop it after the last of them.

    Neither a task group held open here nor the framework's background tasks would do: the first
    loses the teardown with a crash, the second are cancelled before the teardown begins.
    """
    await check_configuration(container)
    try:
        (await container.get(HealthMonitor)).start()
        (await container.get(Supervisor)).start()
        yield
    finally:
        await shutdown_services(container)


async def shutdown_services(container: AsyncContainer) -> None:
    """Stop the tasks, send what is still to be announced, close all connections; each in its time.

    Raises:
        UncleanShutdownError: something had to be cut off.
    """
    timeout_seconds = (await container.get(Settings)).shutdown_timeout_seconds
    monitor = await container.get(HealthMonitor)
    monitor.begin_shutdown()
    supervisor = await container.get(Supervisor)
    is_clean = await supervisor.stop(TASKS_SHARE * timeout_seconds)
    await monitor.stop()
    try:
        async with asyncio.timeout(CLOSE_SHARE * timeout_seconds):
            await container.close()
    except TimeoutError:
        logger.exception("connections_not_closed_in_time")
        is_clean = False
    if not is_clean:
        raise UncleanShutdownError

"""From settings to a running service and back: the container, the start order, the stop order."""

from collections.abc import AsyncGenerator

from dishka import AsyncContainer, Provider
from prometheus_client import CollectorRegistry

from batch_conductor_service.config import Settings
from batch_conductor_service.di import make_providers
from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.providers.metric_labels import show_closed_sets
from service_libs.container import make_all, make_container, measure_process
from service_libs.health import HealthMonitor
from service_libs.lifecycle import run_beside_requests
from service_libs.supervisor import Supervisor


def initialize_metrics(registry: CollectorRegistry) -> Metrics:
    """Register every metric of the service and of its process; counters begin at 0.

    The pipelines' own follow with the pipelines.
    """
    measure_process(registry)
    metrics = Metrics(registry)
    show_closed_sets(metrics)
    return metrics


def build_container(settings: Settings, *overrides: Provider) -> AsyncContainer:
    """Return the container; it validates its graph and opens nothing. Later providers win."""
    metrics = initialize_metrics(CollectorRegistry())
    return make_container(settings, metrics, [*make_providers(settings), *overrides])


async def check_configuration(container: AsyncContainer) -> None:
    """Make everything that the service consists of; connects to nothing.

    Raises:
        PipelineConfigurationError: the pipeline file has faults.
        SettingsError: a setting is bad in a way that only its user can see.
    """
    await make_all(container, (PipelineCatalog, HealthMonitor, Supervisor))


async def lifespan(container: AsyncContainer) -> AsyncGenerator[None, None]:
    """Start what runs beside the requests, and stop it after the last of them."""
    await check_configuration(container)
    settings = await container.get(Settings)
    async for _ in run_beside_requests(container, settings.shutdown_timeout_seconds):
        yield

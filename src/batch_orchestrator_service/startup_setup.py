"""From settings to a running service and back: the container, the start order, the stop order."""

from collections.abc import AsyncGenerator

from dishka import AsyncContainer, Provider
from prometheus_client import CollectorRegistry

from batch_orchestrator_service.config import Settings
from batch_orchestrator_service.di import make_providers
from batch_orchestrator_service.domain.accepting import Decision
from batch_orchestrator_service.domain.advancing import Effect
from batch_orchestrator_service.domain.states import RunState
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.running.planning import Planner
from service_libs.container import make_all, make_container, measure_process
from service_libs.health import HealthMonitor
from service_libs.lifecycle import run_beside_requests
from service_libs.supervisor import Supervisor


def initialize_metrics(registry: CollectorRegistry) -> Metrics:
    """Register every metric of the service and of its process; counters begin at 0."""
    measure_process(registry)
    metrics = Metrics(registry)
    for decision in Decision:
        metrics.requests.labels(decision.value)
    for effect in Effect:
        metrics.outcomes.labels(effect.value)
    for state in RunState:
        if state.has_ended:
            metrics.runs_ended.labels(state.value)
    for outcome in ("planned", "nothing_to_do", "rejected", "postponed", "degraded", "fault"):
        metrics.resolutions.labels(outcome)
    for kind in ("runs", "batches", "notes"):
        metrics.deleted.labels(kind)
    for outcome in ("success", "failure"):
        metrics.messages_sent.labels(outcome)
    return metrics


def build_container(settings: Settings, *overrides: Provider) -> AsyncContainer:
    """Return the container; it validates its graph and opens nothing. Later providers win."""
    metrics = initialize_metrics(CollectorRegistry())
    return make_container(settings, metrics, [*make_providers(), *overrides])


async def check_configuration(container: AsyncContainer) -> None:
    """Make everything that the service consists of; connects to nothing.

    Raises:
        SettingsError: a setting is bad in a way that only its user can tell.
    """
    await make_all(container, (Planner, HealthMonitor, Supervisor))


async def lifespan(container: AsyncContainer) -> AsyncGenerator[None, None]:
    """Start what runs beside the requests, and stop it after the last of them."""
    await check_configuration(container)
    settings = await container.get(Settings)
    async for _ in run_beside_requests(container, settings.shutdown_timeout_seconds):
        yield

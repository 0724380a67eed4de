"""From settings to a running service and back: the container, the start order, the stop order."""

from collections.abc import AsyncGenerator

from dishka import AsyncContainer, Provider, make_async_container
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

from batch_orchestrator_service.config import Settings
from batch_orchestrator_service.di import make_providers
from batch_orchestrator_service.domain.accepting import Decision
from batch_orchestrator_service.domain.advancing import Effect
from batch_orchestrator_service.domain.states import RunState
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.running.planning import Planner
from service_libs.health import HealthMonitor
from service_libs.lifecycle import run_beside_requests
from service_libs.supervisor import Supervisor


def initialize_metrics(registry: CollectorRegistry) -> Metrics:
    """Register every metric of the service and of its process; counters begin at 0."""
    disable_created_metrics()
    ProcessCollector(registry=registry)
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
    registry = CollectorRegistry()
    context = {
        Settings: settings,
        CollectorRegistry: registry,
        Metrics: initialize_metrics(registry),
    }
    return make_async_container(*make_providers(), *overrides, context=context)


async def check_configuration(container: AsyncContainer) -> None:
    """Make everything that the service consists of; connects to nothing.

    Raises:
        SettingsError: a setting is bad in a way that only its user can tell.
    """
    for part in (Planner, HealthMonitor, Supervisor):
        await container.get(part)


async def lifespan(container: AsyncContainer) -> AsyncGenerator[None, None]:
    """Start what runs beside the requests, and stop it after the last of them."""
    await check_configuration(container)
    settings = await container.get(Settings)
    async for _ in run_beside_requests(container, settings.shutdown_timeout_seconds):
        yield

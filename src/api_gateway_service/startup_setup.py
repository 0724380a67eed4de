"""From settings to a running service: its metrics, its container, and whether it can be built."""

from dishka import AsyncContainer, Provider
from prometheus_client import CollectorRegistry

from api_gateway_service.config import Settings
from api_gateway_service.di import make_providers
from api_gateway_service.exceptions import ForbiddenError, KeysUnavailableError
from api_gateway_service.implementations.token_verifier_impl import REASONS
from api_gateway_service.metrics import Metrics
from api_gateway_service.protocols import (
    IdempotencyStoreProtocol,
    RateLimiterProtocol,
    TokenVerifierProtocol,
)
from api_gateway_service.services.pipeline_requests import PipelineRequests
from api_gateway_service.services.status_feeds import StatusFeeds
from service_libs.container import make_all, make_container, measure_process
from service_libs.health import HealthMonitor
from service_libs.supervisor import Supervisor

_PARTS = (
    *(PipelineRequests, StatusFeeds, TokenVerifierProtocol, RateLimiterProtocol),
    *(IdempotencyStoreProtocol, HealthMonitor, Supervisor),
)


def initialize_metrics(registry: CollectorRegistry) -> Metrics:
    """Register every metric of the service and of its process; counters begin at 0."""
    measure_process(registry)
    metrics = Metrics(registry)
    for outcome in ("published", "not_acknowledged"):
        metrics.commands_published.labels(outcome)
        metrics.downstream_duration.labels("kafka", outcome)
    for outcome in ("success", "failure", "not_asked"):
        metrics.downstream_duration.labels("bos", outcome)
    for reason in (*REASONS, ForbiddenError.code, KeysUnavailableError.code):
        metrics.auth_failures.labels(reason)
    return metrics


def build_container(settings: Settings, *overrides: Provider) -> AsyncContainer:
    """Return the container; it validates its graph and opens nothing. Later providers win."""
    metrics = initialize_metrics(CollectorRegistry())
    return make_container(settings, metrics, [*make_providers(settings), *overrides])


async def check_configuration(container: AsyncContainer) -> None:
    """Make everything that the service consists of; connects to nothing.

    Raises:
        SettingsError: a setting is bad in a way that only its user can tell.
    """
    await make_all(container, _PARTS)

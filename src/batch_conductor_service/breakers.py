"""Circuit breakers: a dependency that keeps failing is left alone for a moment.

Answers stay quick that way: nobody waits for a time-out that is sure to come.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.messages.base import Event
from purgatory.domain.messages.events import ContextChanged
from purgatory.domain.model import OpenedState

from batch_conductor_service.exceptions import StoreUnavailableError
from batch_conductor_service.metrics import Metrics

DEPENDENCIES = ("redis", "postgresql")
FAILURES_TO_OPEN = 5
OPEN_SECONDS = 2.0

_STATES = {"closed": 0, "half-opened": 1, "opened": 2}

T = TypeVar("T")


class CircuitBreakers:
    """A breaker for each dependency, by its name."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._factory = AsyncCircuitBreakerFactory(
            default_threshold=FAILURES_TO_OPEN,
            default_ttl=OPEN_SECONDS,
            exclude=[asyncio.CancelledError],  # the caller hung up; the dependency is fine
        )
        self._factory.add_listener(self._show)
        for dependency in DEPENDENCIES:
            metrics.circuit_breaker_state.labels(dependency).set(_STATES["closed"])

    async def call(self, dependency: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the dependency.

        Raises:
            StoreUnavailableError: it has failed too often lately and was not asked.
        """
        try:
            async with await self._factory.get_breaker(dependency):
                return await ask()
        except OpenedState as exc:
            raise StoreUnavailableError(f"{dependency} is not asked for now.") from exc

    def _show(self, name: str, _: str, event: Event) -> None:
        if isinstance(event, ContextChanged):
            self._metrics.circuit_breaker_state.labels(name).set(_STATES[event.state])

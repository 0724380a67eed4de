"""Circuit breakers: a dependency that keeps failing is left alone for a moment.

Answers stay quick that way: nobody waits for a time-out that is sure to come.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from circuitbreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN, CircuitBreaker

from batch_conductor_service.exceptions import StoreUnavailableError
from batch_conductor_service.metrics import Metrics

DEPENDENCIES = ("redis", "postgresql")
FAILURES_TO_OPEN = 5
OPEN_SECONDS = 2

_STATES = {STATE_CLOSED: 0, STATE_HALF_OPEN: 1, STATE_OPEN: 2}

T = TypeVar("T")


class CircuitBreakers:
    """A breaker for each dependency, by its name.

    It opens after five errors in a row, for two seconds of the monotonic clock: one that follows
    the time of day stays open for an hour when that is put back by one.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._breakers = {
            name: CircuitBreaker(FAILURES_TO_OPEN, OPEN_SECONDS, name=name) for name in DEPENDENCIES
        }
        for name in DEPENDENCIES:
            self._show(name)

    async def call(self, dependency: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the dependency.

        Raises:
            StoreUnavailableError: it has failed too often lately and was not asked.
        """
        breaker = self._breakers[dependency]
        self._show(dependency)
        if breaker.opened:
            raise StoreUnavailableError(f"{dependency} is not asked for now.")
        try:
            answer = await ask()
        except Exception:  # a caller who hangs up says nothing of the dependency
            with breaker:
                raise
        else:
            breaker.reset()
            return answer
        finally:
            self._show(dependency)

    def _show(self, dependency: str) -> None:
        state = self._breakers[dependency].state
        self._metrics.circuit_breaker_state.labels(dependency).set(_STATES[state])

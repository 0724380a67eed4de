"""Circuit breakers: a dependency that keeps failing is left alone for a moment.

Answers stay quick that way: nobody waits for a time-out that is sure to come, but the one who tries
whether it still is.
"""

import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import TypeVar

from circuitbreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN, CircuitBreaker

from service_libs.exceptions import StoreUnavailableError
from service_libs.metrics import ServiceMetrics

DEPENDENCIES = ("redis", "postgresql")
FAILURES_TO_OPEN = 5
OPEN_FACTOR = 1.5  # of the time-out: most of the time nobody waits for it
DEFAULT_TIMEOUT_SECONDS = 2

_STATES = {STATE_CLOSED: 0, STATE_HALF_OPEN: 1, STATE_OPEN: 2}

T = TypeVar("T")


class Breaker:
    """The breaker of one dependency.

    Args:
        timeout_seconds: longest time that one question takes.
        open_seconds: how long it is left alone; by default longer than the time-out.
    """

    def __init__(
        self, name: str, timeout_seconds: float, *, open_seconds: float | None = None
    ) -> None:
        self.name = name
        self._timeout_seconds = timeout_seconds
        is_open_for = OPEN_FACTOR * timeout_seconds if open_seconds is None else open_seconds
        self._circuit = CircuitBreaker(FAILURES_TO_OPEN, is_open_for, name=name)
        self._probe_began_at: float | None = None

    @property
    def state(self) -> int:
        """As the metric has it."""
        return _STATES[self._circuit.state]

    @property
    def is_closed(self) -> bool:
        """Whether everybody may ask."""
        return bool(self._circuit.closed)

    @property
    def seconds_to_probe(self) -> float:
        """How long until somebody may ask who may not now: until a probe ends, or is due."""
        if self._probe_began_at is not None:
            return max(0.0, self._probe_began_at + self._timeout_seconds - monotonic())
        return max(0.0, float(self._circuit.open_remaining))

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Let the caller ask, alone if the dependency has kept failing until now.

        Raises:
            StoreUnavailableError: it is not to be asked.
        """
        is_probe = not self.is_closed
        if self._circuit.opened or (is_probe and self._probe_began_at is not None):
            raise StoreUnavailableError(f"{self.name} is not asked for now.")
        if is_probe:
            self._probe_began_at = monotonic()
        try:
            yield
        except Exception:  # a caller who hangs up says nothing of the dependency
            with self._circuit:
                raise
        else:
            self._circuit.reset()
        finally:
            if is_probe:
                self._probe_began_at = None


class CircuitBreakers:
    """A breaker for each dependency, by its name.

    It opens after five errors in a row, for longer than the dependency's time-out; then one caller
    probes, and others are still refused until that is answered. Times are of the monotonic clock:
    a breaker that follows the time of day stays open for an hour when that is put back by one.
    """

    def __init__(
        self, metrics: ServiceMetrics, timeouts_seconds: Mapping[str, float] | None = None
    ) -> None:
        self._metrics = metrics
        timeouts = timeouts_seconds or {}
        self._breakers = {
            name: Breaker(name, timeouts.get(name, DEFAULT_TIMEOUT_SECONDS))
            for name in DEPENDENCIES
        }
        for breaker in self._breakers.values():
            self._show(breaker)

    async def call(self, dependency: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the dependency.

        Raises:
            StoreUnavailableError: it has failed too often lately and was not asked.
        """
        breaker = self._breakers[dependency]
        try:
            with breaker.asking():
                self._show(breaker)
                return await ask()
        finally:
            self._show(breaker)

    @property
    def retry_after_seconds(self) -> int | None:
        """Whole seconds until the next dependency is probed; None while any may be asked."""
        waits = [breaker.seconds_to_probe for breaker in self._breakers.values()]
        if any(breaker.is_closed for breaker in self._breakers.values()):
            return None
        return max(1, math.ceil(min(waits)))

    def _show(self, breaker: Breaker) -> None:
        self._metrics.circuit_breaker_state.labels(breaker.name).set(breaker.state)

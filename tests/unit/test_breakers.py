import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry

from batch_conductor_service import breakers
from batch_conductor_service.breakers import DEPENDENCIES, FAILURES_TO_OPEN, CircuitBreakers
from batch_conductor_service.exceptions import StoreUnavailableError
from batch_conductor_service.metrics import Metrics

OPEN_SECONDS = 1  # the breaker counts whole seconds


class Dependency:
    """Counts how often it is asked; may be down."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_down = False

    async def ask(self) -> int:
        self.asked += 1
        if self.is_down:
            raise StoreUnavailableError
        return self.asked


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def circuit(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> CircuitBreakers:
    monkeypatch.setattr(breakers, "OPEN_SECONDS", OPEN_SECONDS)
    return CircuitBreakers(Metrics(registry))


@pytest.fixture
def dependency() -> Dependency:
    return Dependency()


def shown(registry: CollectorRegistry) -> list[float | None]:
    return [
        registry.get_sample_value("bcs_circuit_breaker_state", {"dependency": name})
        for name in DEPENDENCIES
    ]


async def open_up(circuit: CircuitBreakers, dependency: Dependency) -> None:
    dependency.is_down = True
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(StoreUnavailableError):
            await circuit.call("redis", dependency.ask)


@pytest.mark.usefixtures("circuit")
def test_a_breaker_that_was_never_needed_is_seen_to_be_closed(
    registry: CollectorRegistry,
) -> None:
    assert shown(registry) == [0, 0]


async def test_a_dependency_that_keeps_failing_is_left_alone(
    circuit: CircuitBreakers, registry: CollectorRegistry, dependency: Dependency
) -> None:
    await open_up(circuit, dependency)

    with pytest.raises(StoreUnavailableError, match="redis is not asked for now"):
        await circuit.call("redis", dependency.ask)

    assert dependency.asked == FAILURES_TO_OPEN
    assert shown(registry) == [2, 0]


async def test_it_is_asked_again_after_a_moment_also_when_the_clock_was_put_back(
    circuit: CircuitBreakers,
    registry: CollectorRegistry,
    dependency: Dependency,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await open_up(circuit, dependency)
    dependency.is_down = False
    monkeypatch.setattr(time, "time", lambda: 0.0)

    await asyncio.sleep(OPEN_SECONDS + 0.1)

    assert await circuit.call("redis", dependency.ask) == FAILURES_TO_OPEN + 1
    assert shown(registry) == [0, 0]


async def test_one_failure_after_the_moment_opens_it_again(
    circuit: CircuitBreakers, registry: CollectorRegistry, dependency: Dependency
) -> None:
    await open_up(circuit, dependency)
    await asyncio.sleep(OPEN_SECONDS + 0.1)

    with pytest.raises(StoreUnavailableError):
        await circuit.call("redis", dependency.ask)

    assert dependency.asked == FAILURES_TO_OPEN + 1
    assert shown(registry) == [2, 0]


async def test_a_caller_who_hangs_up_says_nothing_of_the_dependency(
    circuit: CircuitBreakers, registry: CollectorRegistry, dependency: Dependency
) -> None:
    for _ in range(FAILURES_TO_OPEN):
        await hang_up(circuit)
    assert shown(registry) == [0, 0]

    dependency.is_down = True
    for _ in range(FAILURES_TO_OPEN):
        await hang_up(circuit)
        with pytest.raises(StoreUnavailableError):
            await circuit.call("redis", dependency.ask)
    assert shown(registry) == [2, 0]


async def hang_up(circuit: CircuitBreakers) -> None:
    asking = asyncio.create_task(circuit.call("redis", asyncio.Event().wait))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

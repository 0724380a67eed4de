import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry

from batch_conductor_service.metrics import Metrics
from service_libs.breakers import DEPENDENCIES, FAILURES_TO_OPEN, OPEN_FACTOR, CircuitBreakers
from service_libs.exceptions import StoreUnavailableError

TIMEOUT_SECONDS = 0.2
OPEN_SECONDS = OPEN_FACTOR * TIMEOUT_SECONDS


class Dependency:
    """Counts how often it is asked; may be down."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_down = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def ask(self) -> int:
        self.asked += 1
        await self.may_answer.wait()
        if self.is_down:
            raise StoreUnavailableError
        return self.asked


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def circuit(registry: CollectorRegistry) -> CircuitBreakers:
    return CircuitBreakers(Metrics(registry), dict.fromkeys(DEPENDENCIES, TIMEOUT_SECONDS))


@pytest.fixture
def dependency() -> Dependency:
    return Dependency()


def shown(registry: CollectorRegistry) -> list[float | None]:
    return [
        registry.get_sample_value("bcs_circuit_breaker_state", {"dependency": name})
        for name in DEPENDENCIES
    ]


async def open_up(circuit: CircuitBreakers, dependency: Dependency, name: str = "redis") -> None:
    dependency.is_down = True
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(StoreUnavailableError):
            await circuit.call(name, dependency.ask)


async def probe_that_hangs(circuit: CircuitBreakers, dependency: Dependency) -> asyncio.Task[int]:
    """Return the one caller that is let through when the time is up."""
    await open_up(circuit, dependency)
    await asyncio.sleep(OPEN_SECONDS + 0.1)
    dependency.may_answer.clear()
    probe = asyncio.create_task(circuit.call("redis", dependency.ask))
    await asyncio.sleep(0)
    return probe


@pytest.mark.usefixtures("circuit")
def test_a_breaker_that_was_never_needed_is_seen_to_be_closed(
    registry: CollectorRegistry,
) -> None:
    assert shown(registry) == [0, 0]


async def test_a_dependency_that_keeps_failing_is_left_alone(
    circuit: CircuitBreakers, registry: CollectorRegistry, dependency: Dependency
) -> None:
    await open_up(circuit, dependency)

    for wait_seconds in (0, TIMEOUT_SECONDS):  # it stays open for longer than the time-out
        await asyncio.sleep(wait_seconds)
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


async def test_one_caller_probes_and_others_are_refused_at_once(
    circuit: CircuitBreakers, registry: CollectorRegistry, dependency: Dependency
) -> None:
    probe = await probe_that_hangs(circuit, dependency)

    assert shown(registry) == [1, 0]
    for _ in range(20):
        with pytest.raises(StoreUnavailableError, match="redis is not asked for now"):
            await circuit.call("redis", dependency.ask)
    assert dependency.asked == FAILURES_TO_OPEN + 1

    dependency.is_down = False
    dependency.may_answer.set()
    assert await probe == FAILURES_TO_OPEN + 1
    assert await circuit.call("redis", dependency.ask) == FAILURES_TO_OPEN + 2
    assert shown(registry) == [0, 0]


async def test_after_a_probe_that_hung_up_the_next_caller_probes(
    circuit: CircuitBreakers, dependency: Dependency
) -> None:
    probe = await probe_that_hangs(circuit, dependency)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe

    dependency.is_down = False
    dependency.may_answer.set()
    assert await circuit.call("redis", dependency.ask) == FAILURES_TO_OPEN + 2


async def test_callers_learn_when_the_next_probe_is(registry: CollectorRegistry) -> None:
    """Either store is enough, so the earlier probe counts; none while one may be asked."""
    circuit = CircuitBreakers(Metrics(registry), {"redis": 2, "postgresql": 10})
    assert circuit.retry_after_seconds is None

    await open_up(circuit, Dependency())
    assert circuit.retry_after_seconds is None

    await open_up(circuit, Dependency(), "postgresql")
    assert circuit.retry_after_seconds == OPEN_FACTOR * 2


async def test_while_a_probe_hangs_callers_learn_when_it_must_end(
    circuit: CircuitBreakers, registry: CollectorRegistry, dependency: Dependency
) -> None:
    await open_up(circuit, Dependency(), "postgresql")
    probe = await probe_that_hangs(circuit, dependency)

    assert circuit.retry_after_seconds == 1
    assert shown(registry)[0] == 1
    probe.cancel()

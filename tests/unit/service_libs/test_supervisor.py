import asyncio
import contextlib

import pytest
from prometheus_client import CollectorRegistry

from batch_conductor_service.metrics import Metrics
from service_libs import supervisor as supervisor_module
from service_libs.exceptions import DeadLetterLimitError, TransientError, UnreadableRecordError
from service_libs.supervisor import RestartPolicy, Supervisor
from tests.support.tasks import ScriptedTask
from tests.support.waiting import eventually

QUICK = RestartPolicy(initial_seconds=0.001, max_seconds=0.001)
SLOW = RestartPolicy(initial_seconds=60, max_seconds=60)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def supervise(
    registry: CollectorRegistry, *tasks: ScriptedTask, policy: RestartPolicy = QUICK
) -> Supervisor:
    return Supervisor(tasks, Metrics(registry), policy)


async def test_a_task_runs_from_start_to_stop(registry: CollectorRegistry) -> None:
    task = ScriptedTask("consumer")
    supervisor = supervise(registry, task)

    supervisor.start()
    await task.is_running.wait()

    assert supervisor.statuses() == {"consumer": "running"}
    assert registry.get_sample_value("bcs_task_up", {"task": "consumer"}) == 1
    assert await supervisor.stop(timeout_seconds=1)
    assert supervisor.statuses() == {"consumer": "stopped"}
    assert registry.get_sample_value("bcs_task_up", {"task": "consumer"}) == 0


async def test_a_task_that_dies_is_started_again(registry: CollectorRegistry) -> None:
    task = ScriptedTask("consumer", [TransientError(), ZeroDivisionError()])
    supervisor = supervise(registry, task)

    supervisor.start()
    await task.is_running.wait()

    assert task.runs == 3
    assert registry.get_sample_value("bcs_task_restarts_total", {"task": "consumer"}) == 2
    assert await supervisor.stop(timeout_seconds=1)


async def test_the_death_of_one_task_does_not_touch_another(registry: CollectorRegistry) -> None:
    dying, living = ScriptedTask("consumer", [ZeroDivisionError()]), ScriptedTask("worker")
    supervisor = supervise(registry, dying, living, policy=SLOW)

    supervisor.start()
    await living.is_running.wait()

    await eventually(
        lambda: supervisor.statuses() == {"consumer": "restarting", "worker": "running"}
    )
    assert living.runs == 1
    await supervisor.stop(timeout_seconds=1)


@pytest.mark.parametrize("error", [DeadLetterLimitError(), UnreadableRecordError()])
async def test_what_a_person_has_to_look_at_halts_a_task_for_good(
    registry: CollectorRegistry, error: Exception
) -> None:
    task = ScriptedTask("consumer", [error])
    supervisor = supervise(registry, task)

    supervisor.start()

    await eventually(lambda: supervisor.statuses() == {"consumer": "halted"})
    assert task.runs == 1
    assert registry.get_sample_value("bcs_task_up", {"task": "consumer"}) == 0
    assert await supervisor.stop(timeout_seconds=1)


async def test_a_task_that_returns_unasked_is_started_again(registry: CollectorRegistry) -> None:
    task = ScriptedTask("worker")
    supervisor = supervise(registry, task)
    task.stop()

    supervisor.start()

    async def runs_again() -> bool:
        return task.runs > 1

    await eventually(runs_again)
    await supervisor.stop(timeout_seconds=1)


async def test_tasks_stop_one_after_the_other_in_the_order_given(
    registry: CollectorRegistry,
) -> None:
    """The consumer waits for the worker to persist what it consumed, so it has to be first."""
    tasks = [ScriptedTask("consumer"), ScriptedTask("worker")]
    journal: list[str] = []
    for task in tasks:
        task.journal = journal
    supervisor = supervise(registry, *tasks)
    supervisor.start()
    await tasks[1].is_running.wait()

    await supervisor.stop(timeout_seconds=1)

    assert journal == ["consumer", "worker"]


async def test_a_task_that_does_not_stop_is_cancelled_when_time_is_up(
    registry: CollectorRegistry,
) -> None:
    task = ScriptedTask("consumer", ignores_stop=True)
    supervisor = supervise(registry, task)
    supervisor.start()
    await task.is_running.wait()

    is_clean = await supervisor.stop(timeout_seconds=0.01)

    assert not is_clean
    assert supervisor.statuses() == {"consumer": "stopped"}


class UnhurriedTask(ScriptedTask):
    """Has something to finish before it stops."""

    async def run(self) -> None:
        await super().run()
        await asyncio.sleep(0.02)
        self.journal.append("finished")


async def test_a_task_that_hangs_leaves_time_for_those_after_it(
    registry: CollectorRegistry,
) -> None:
    tasks = [ScriptedTask("consumer", ignores_stop=True), UnhurriedTask("worker")]
    supervisor = supervise(registry, *tasks)
    supervisor.start()
    await tasks[1].is_running.wait()

    await supervisor.stop(timeout_seconds=1)

    assert tasks[1].journal == ["worker", "finished"]


class StubbornTask(ScriptedTask):
    """Does not even heed a cancellation, until it is let go."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.let_go = asyncio.Event()

    async def run(self) -> None:
        self.is_running.set()
        while not self.let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.let_go.wait()


async def test_a_task_that_does_not_heed_its_cancellation_is_left_behind(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "CANCEL_TIMEOUT_SECONDS", 0.01)
    task = StubbornTask("consumer")
    supervisor = supervise(registry, task)
    supervisor.start()
    await task.is_running.wait()

    is_clean = await asyncio.wait_for(supervisor.stop(timeout_seconds=0.01), 1)

    assert not is_clean
    task.let_go.set()
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)


async def test_an_error_while_stopping_is_no_clean_end(registry: CollectorRegistry) -> None:
    task = ScriptedTask("consumer")
    task.error_at_stop = TransientError()
    supervisor = supervise(registry, task)
    supervisor.start()
    await task.is_running.wait()

    assert not await supervisor.stop(timeout_seconds=1)
    assert task.runs == 1


async def test_stopping_does_not_wait_for_the_next_start(registry: CollectorRegistry) -> None:
    task = ScriptedTask("consumer", [TransientError()])
    supervisor = supervise(registry, task, policy=SLOW)
    supervisor.start()
    await eventually(lambda: supervisor.statuses() == {"consumer": "restarting"})

    assert await asyncio.wait_for(supervisor.stop(timeout_seconds=5), timeout=1)


async def test_stopping_what_never_started_is_clean(registry: CollectorRegistry) -> None:
    assert await supervise(registry, ScriptedTask("consumer")).stop(timeout_seconds=1)


def test_the_wait_before_the_next_start_doubles_up_to_a_limit() -> None:
    policy = RestartPolicy(initial_seconds=1, max_seconds=5)

    delays = [policy.delay_seconds(failures) for failures in (1, 2, 3, 4, 5000)]

    assert delays == [1, 2, 4, 5, 5]


async def test_a_task_that_dies_again_and_again_is_told_while_it_runs(
    registry: CollectorRegistry,
) -> None:
    twice = ScriptedTask("twice", [ZeroDivisionError()] * 2)
    thrice = ScriptedTask("thrice", [ZeroDivisionError()] * 3)
    supervisor = supervise(registry, twice, thrice)
    assert supervisor.crash_loops() == []

    supervisor.start()
    await twice.is_running.wait()
    await thrice.is_running.wait()

    assert supervisor.statuses() == {"twice": "running", "thrice": "running"}
    assert supervisor.crash_loops() == ["thrice"]
    assert await supervisor.stop(timeout_seconds=1)

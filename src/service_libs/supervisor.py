"""Keeps the background tasks running: one that dies is started again, and everybody can see it.

Each task has a plain asyncio task of its own. A task group would tie them together, and held open
across the `yield` of a lifespan it takes the teardown down with its first crash.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog

from service_libs.exceptions import HaltError
from service_libs.metrics import ServiceMetrics
from service_libs.protocols import BackgroundTaskProtocol

RESERVED_SHARE = 0.06  # of the time to stop in, for each task that is still to be stopped
CANCEL_TIMEOUT_SECONDS = 1  # for a task that is cancelled to clean up
CRASH_LOOP_DEATHS = 3  # so many within the time below are no accident
CRASH_LOOP_SECONDS = 600

logger = structlog.get_logger(__name__)


class TaskStatus(StrEnum):
    """How a background task is doing."""

    RUNNING = "running"
    RESTARTING = "restarting"  # it died and waits to be started again
    HALTED = "halted"  # it gave up for good: a person is needed
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """How long to wait before the next start: doubling, and afresh after a run that lasted."""

    initial_seconds: float = 0.5
    max_seconds: float = 30
    reset_after_seconds: float = 60

    def delay_seconds(self, failures: int) -> float:
        """Return the wait after that many failures in a row, the first being 1."""
        return min(self.max_seconds, self.initial_seconds * 2.0 ** min(failures - 1, 30))


class Supervisor:
    """Runs background tasks from `start` to `stop`. One task's death never touches another."""

    def __init__(
        self,
        tasks: Sequence[BackgroundTaskProtocol],
        metrics: ServiceMetrics,
        policy: RestartPolicy | None = None,
    ) -> None:
        self._tasks = tasks
        self._metrics = metrics
        self._policy = policy or RestartPolicy()
        self._stopping = asyncio.Event()
        self._statuses = {task.name: TaskStatus.STOPPED for task in tasks}
        self._keepers: dict[str, asyncio.Task[bool]] = {}
        self._deaths: dict[str, deque[float]] = {
            task.name: deque(maxlen=CRASH_LOOP_DEATHS) for task in tasks
        }

    def start(self) -> None:
        """Start every task."""
        for task in self._tasks:
            self._metrics.task_restarts.labels(task=task.name)  # at 0
            self._keepers[task.name] = asyncio.create_task(self._keep(task), name=task.name)
            self._set(task, TaskStatus.RUNNING)

    def statuses(self) -> dict[str, TaskStatus]:
        """Return how each task is doing, by name."""
        return dict(self._statuses)

    def crash_loops(self) -> list[str]:
        """Return the tasks that died again and again lately, whether they run just now or not."""
        since = time.monotonic() - CRASH_LOOP_SECONDS
        return [
            name
            for name, deaths in self._deaths.items()
            if len(deaths) == CRASH_LOOP_DEATHS and deaths[0] > since
        ]

    async def stop(self, timeout_seconds: float) -> bool:
        """Stop the tasks one after the other, in the order given, all within the timeout.

        One that hangs is cut off early enough for each of those after it to have its own time.
        Returns whether every task ended by itself and without an error.
        """
        self._stopping.set()
        reserve = timeout_seconds * RESERVED_SHARE
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        latest = [deadline - reserve * n for n in reversed(range(len(self._tasks)))]
        return all([await self._stop_one(*stop) for stop in zip(self._tasks, latest, strict=True)])

    async def _stop_one(self, task: BackgroundTaskProtocol, deadline: float) -> bool:
        keeper = self._keepers.pop(task.name, None)
        if keeper is None:
            return True
        task.stop()
        remaining = max(0.0, deadline - asyncio.get_running_loop().time())
        _, unfinished = await asyncio.wait({keeper}, timeout=remaining)
        if unfinished:
            logger.error("background_task_cancelled", task=task.name)
            keeper.cancel()
            await asyncio.wait({keeper}, timeout=CANCEL_TIMEOUT_SECONDS)
            self._set(task, TaskStatus.STOPPED)
        return not unfinished and keeper.result()

    async def _keep(self, task: BackgroundTaskProtocol) -> bool:
        """Run the task again and again until it is to stop, or until it gives up for good.

        Returns whether its last run ended without an error.
        """
        loop = asyncio.get_running_loop()
        failures = 0
        error: BaseException | None = None
        while not self._stopping.is_set():
            started = loop.time()
            self._set(task, TaskStatus.RUNNING)
            error = await _run_once(task)
            if isinstance(error, HaltError):
                return self._halt(task, error)
            if not self._stopping.is_set():
                lasted = loop.time() - started >= self._policy.reset_after_seconds
                failures = 1 if lasted else failures + 1
                await self._back_off(task, self._policy.delay_seconds(failures), error)
                error = None
        if error is not None:
            logger.error("background_task_died_while_stopping", task=task.name, exc_info=error)
        self._set(task, TaskStatus.STOPPED)
        return error is None

    def _halt(self, task: BackgroundTaskProtocol, error: HaltError) -> bool:
        logger.critical("background_task_halted", task=task.name, error=str(error), **error.details)
        self._set(task, TaskStatus.HALTED)
        return True

    async def _back_off(
        self, task: BackgroundTaskProtocol, delay: float, error: BaseException | None
    ) -> None:
        logger.error("background_task_died", task=task.name, retry_in=delay, exc_info=error)
        self._deaths[task.name].append(time.monotonic())
        self._set(task, TaskStatus.RESTARTING)
        self._metrics.task_restarts.labels(task=task.name).inc()
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({stopping}, timeout=delay)
        stopping.cancel()

    def _set(self, task: BackgroundTaskProtocol, status: TaskStatus) -> None:
        self._statuses[task.name] = status
        self._metrics.task_up.labels(task=task.name).set(status is TaskStatus.RUNNING)


async def _run_once(task: BackgroundTaskProtocol) -> BaseException | None:
    """Run the task in an asyncio task of its own and return what it died of, if anything."""
    run = asyncio.create_task(task.run(), name=f"{task.name} run")
    try:
        await asyncio.wait({run})
    finally:
        if not run.done():
            run.cancel()
            await asyncio.wait({run})
    return asyncio.CancelledError() if run.cancelled() else run.exception()

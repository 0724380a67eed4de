"""How the service and what it depends on are doing.

Dependencies are asked in the background, so that a health check answers at once, also while one of
them hangs.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog

from service_libs.exceptions import TransientError
from service_libs.metrics import ServiceMetrics
from service_libs.protocols import HealthProbeProtocol, ProgressProtocol
from service_libs.supervisor import Supervisor, TaskStatus

logger = structlog.get_logger(__name__)

STORES = frozenset({"redis", "postgresql"})  # either is enough to answer `define`


class ServiceStatus(StrEnum):
    """How the service is doing, all taken together."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"  # it answers, but something is away, behind or being started again
    UNHEALTHY = "unhealthy"


class DependencyStatus(StrEnum):
    """Whether a dependency answers."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"  # not asked yet


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyHealth:
    """What the last question to a dependency gave."""

    status: DependencyStatus = DependencyStatus.UNKNOWN
    message: str = "Not asked yet."


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePolicy:
    """How often dependencies are asked, and how long an answer may take."""

    interval_seconds: float = 2
    timeout_seconds: float = 2


class HealthMonitor:
    """Asks every dependency every few seconds, and judges the service by the answers."""

    def __init__(
        self,
        probes: Sequence[HealthProbeProtocol],
        supervisor: Supervisor,
        metrics: ServiceMetrics,
        policy: ProbePolicy | None = None,
        progress: Sequence[ProgressProtocol] = (),
    ) -> None:
        self._probes = probes
        self._supervisor = supervisor
        self._metrics = metrics
        self._policy = policy or ProbePolicy()
        self._progress = progress
        self._dependencies = {probe.name: DependencyHealth() for probe in probes}
        self._watcher: asyncio.Task[None] | None = None
        self.is_shutting_down = False

    def start(self) -> None:
        """Begin to ask."""
        self._watcher = asyncio.create_task(self._watch(), name="health monitor")

    async def stop(self) -> None:
        """Ask no more."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
            self._watcher = None

    def begin_shutdown(self) -> None:
        """Say from now on that the service is not ready."""
        self.is_shutting_down = True

    @property
    def status(self) -> ServiceStatus:
        """How the service is doing, all taken together."""
        tasks = self.tasks.values()
        if not self._can_read_state or TaskStatus.HALTED in tasks:
            return ServiceStatus.UNHEALTHY
        if self.causes:
            return ServiceStatus.DEGRADED
        is_all_up = all(d.status is DependencyStatus.UP for d in self._dependencies.values())
        if is_all_up and all(status is TaskStatus.RUNNING for status in tasks):
            return ServiceStatus.HEALTHY
        return ServiceStatus.DEGRADED

    @property
    def dependencies(self) -> Mapping[str, DependencyHealth]:
        """What each dependency answered last, by name."""
        return self._dependencies

    @property
    def tasks(self) -> Mapping[str, TaskStatus]:
        """How each background task is doing, by name."""
        return self._supervisor.statuses()

    @property
    def progress(self) -> Mapping[str, Mapping[str, str | float | None]]:
        """How what runs gets on, by name."""
        return {one.name: one.describe() for one in self._progress}

    @property
    def causes(self) -> Sequence[str]:
        """Why the service does not get on, in sentences for people; empty when it does.

        What a dependency answers is shown with the dependency.
        """
        loops = [
            f"The task {name} dies again and again." for name in self._supervisor.crash_loops()
        ]
        return [*loops, *(cause for one in self._progress for cause in one.causes)]

    @property
    def is_ready(self) -> bool:
        """Whether `define` can be answered, and new requests are welcome."""
        return self._can_read_state and not self.is_shutting_down

    @property
    def is_alive(self) -> bool:
        """Whether the process runs everything that it should; being asked to stop is no death.

        Nor is a halt: a process that is started again would come to the same place.
        """
        if self.is_shutting_down:
            return True
        is_watching = self._watcher is not None and not self._watcher.done()
        return is_watching and TaskStatus.STOPPED not in self.tasks.values()

    @property
    def _can_read_state(self) -> bool:
        stores = [health.status for name, health in self._dependencies.items() if name in STORES]
        return not stores or DependencyStatus.UP in stores

    async def check(self) -> None:
        """Ask every dependency once, all at the same time."""
        answers = await asyncio.gather(*map(self._ask, self._probes), return_exceptions=True)
        for probe, answer in zip(self._probes, answers, strict=True):
            self._record(probe.name, answer)
        await asyncio.gather(*map(self._refresh, self._progress))

    async def _watch(self) -> None:
        while True:
            await self.check()
            await asyncio.sleep(self._policy.interval_seconds)

    async def _ask(self, probe: HealthProbeProtocol) -> None:
        async with asyncio.timeout(self._policy.timeout_seconds):
            await probe.ping()

    async def _refresh(self, one: ProgressProtocol) -> None:
        # What it depends on has a probe of its own, which says that it is down.
        with contextlib.suppress(TransientError, TimeoutError):
            async with asyncio.timeout(self._policy.timeout_seconds):
                await one.refresh()

    def _record(self, name: str, error: BaseException | None) -> None:
        status = DependencyStatus.UP if error is None else DependencyStatus.DOWN
        message = _describe(error)
        if self._dependencies[name].status is not status:
            log = logger.info if error is None else logger.warning
            expected = error is None or isinstance(error, TransientError | TimeoutError)
            log(
                "dependency_changed",
                dependency=name,
                status=status.value,
                reason=message,
                exc_info=None if expected else error,
            )
        self._dependencies[name] = DependencyHealth(status=status, message=message)
        self._metrics.dependency_up.labels(dependency=name).set(error is None)


def _describe(error: BaseException | None) -> str:
    """Return a message for everybody: our own errors never quote a driver."""
    match error:
        case None:
            return "Answers."
        case TransientError():
            return str(error)
        case TimeoutError():
            return "Did not answer in time."
        case _:
            return "Could not be asked."

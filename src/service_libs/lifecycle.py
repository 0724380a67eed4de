"""The start and the stop of a service: what runs beside the requests, in order and within time."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import structlog
from dishka import AsyncContainer

from service_libs.exceptions import UncleanShutdownError, UnfitStoreError
from service_libs.health import STORES, HealthMonitor
from service_libs.protocols import HealthProbeProtocol
from service_libs.supervisor import Supervisor

START_PROBE_SECONDS = 2  # for a store to answer, before the service starts without it
# Of the shutdown's time; requests have a share of their own. What runs beside them stops after the
# last of them, one after the other, so the shares of all of them together leave some.
TASKS_SHARE = 0.4
CLOSE_SHARE = 0.2

logger = structlog.get_logger(__name__)


async def refuse_unfit_stores(container: AsyncContainer) -> None:
    """Ask each store that answers whether it can hold what it must; one that is away is no fault.

    Raises:
        UnfitStoreError: it cannot. One that answers only later says so in its health.
    """
    probes = await container.get(Sequence[HealthProbeProtocol])
    asking = [_ask(probe) for probe in probes if probe.name in STORES]
    for answer in await asyncio.gather(*asking, return_exceptions=True):
        if isinstance(answer, UnfitStoreError):
            raise answer


async def _ask(probe: HealthProbeProtocol) -> None:
    async with asyncio.timeout(START_PROBE_SECONDS):
        await probe.ping()


async def run_beside_requests(
    container: AsyncContainer, shutdown_timeout_seconds: float
) -> AsyncGenerator[None, None]:
    """Start what runs beside the requests, and stop it after the last of them.

    Neither a task group held open here nor the framework's background tasks would do: the first
    loses the teardown with a crash, the second are cancelled before the teardown begins.
    """
    try:
        (await container.get(HealthMonitor)).start()
        (await container.get(Supervisor)).start()
        yield
    finally:
        await shut_down(container, shutdown_timeout_seconds)


async def shut_down(container: AsyncContainer, timeout_seconds: float) -> None:
    """Stop the tasks, let what is to be sent go out, close all connections; each within its time.

    Raises:
        UncleanShutdownError: something had to be cut off.
    """
    monitor = await container.get(HealthMonitor)
    monitor.begin_shutdown()
    supervisor = await container.get(Supervisor)
    is_clean = await supervisor.stop(TASKS_SHARE * timeout_seconds)
    await monitor.stop()
    try:
        async with asyncio.timeout(CLOSE_SHARE * timeout_seconds):
            await container.close()
    except TimeoutError:
        logger.exception("connections_not_closed_in_time")
        is_clean = False
    if not is_clean:
        raise UncleanShutdownError

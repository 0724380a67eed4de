import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dishka import Provider, Scope

from batch_conductor_service.config import Settings
from batch_conductor_service.implementations.memory.batch_state import MockBatchStateRepositoryImpl
from batch_conductor_service.protocols import BatchStateRepositoryProtocol
from batch_conductor_service.startup_setup import build_container
from service_libs.exceptions import UncleanShutdownError
from service_libs.lifecycle import shut_down
from service_libs.protocols import BackgroundTaskProtocol
from service_libs.settings import Environment
from service_libs.supervisor import Supervisor
from tests.support.pipelines import DEPENDENCIES
from tests.support.tasks import ScriptedTask

SETTINGS = Settings(
    environment=Environment.TESTING,
    shutdown_timeout_seconds=0.1,
    pipeline_config_path=Path("unused.yaml"),
)


async def test_a_task_that_had_to_be_cut_off_is_no_clean_end() -> None:
    task = ScriptedTask("consumer", ignores_stop=True)
    hanging = Provider(scope=Scope.APP)
    hanging.provide(lambda: task, provides=BackgroundTaskProtocol)
    container = build_container(SETTINGS, hanging)
    (await container.get(Supervisor)).start()
    await task.is_running.wait()

    with pytest.raises(UncleanShutdownError):
        await shut_down(container, SETTINGS.shutdown_timeout_seconds)


async def test_a_connection_that_does_not_close_is_no_clean_end() -> None:
    async def open_for_ever() -> AsyncIterator[BatchStateRepositoryProtocol]:
        yield MockBatchStateRepositoryImpl(DEPENDENCIES)
        await asyncio.Event().wait()

    stubborn = Provider(scope=Scope.APP)
    stubborn.provide(open_for_ever)
    container = build_container(SETTINGS, stubborn)
    await container.get(BatchStateRepositoryProtocol)

    with pytest.raises(UncleanShutdownError):
        await shut_down(container, SETTINGS.shutdown_timeout_seconds)


async def test_resources_are_closed_after_the_tasks_have_stopped() -> None:
    journal: list[str] = []
    task = ScriptedTask("consumer")
    task.journal = journal

    async def open_repository() -> AsyncIterator[BatchStateRepositoryProtocol]:
        yield MockBatchStateRepositoryImpl(DEPENDENCIES)
        journal.append("closed")

    replaced = Provider(scope=Scope.APP)
    replaced.provide(lambda: task, provides=BackgroundTaskProtocol)
    replaced.provide(open_repository)
    container = build_container(SETTINGS, replaced)
    await container.get(BatchStateRepositoryProtocol)
    (await container.get(Supervisor)).start()
    await task.is_running.wait()

    await shut_down(container, SETTINGS.shutdown_timeout_seconds)

    assert journal == ["consumer", "closed"]

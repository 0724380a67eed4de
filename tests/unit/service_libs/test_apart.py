import asyncio
import sys
import threading

import pytest

from service_libs.apart import run_apart


async def test_the_work_has_a_thread_and_a_loop_of_its_own() -> None:
    async def work() -> tuple[int, asyncio.AbstractEventLoop]:
        return threading.get_ident(), asyncio.get_running_loop()

    thread, loop = await run_apart(work)

    assert thread != threading.get_ident()
    assert loop is not asyncio.get_running_loop()
    assert loop.is_closed()


async def test_the_loop_that_waits_goes_on_beside_work_that_never_gives_up_control() -> None:
    is_over = threading.Event()

    async def work() -> None:
        while not is_over.is_set():
            pass

    running = asyncio.create_task(run_apart(work))
    for _ in range(50):
        await asyncio.sleep(0.001)
    is_over.set()
    await running


async def test_what_it_raises_is_raised_here_and_the_interpreter_is_as_before() -> None:
    usual = sys.getswitchinterval()

    async def work() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await run_apart(work)

    assert sys.getswitchinterval() == pytest.approx(usual)


async def test_cancelled_it_cancels_the_work_and_waits_for_its_end() -> None:
    has_begun, has_ended = threading.Event(), threading.Event()

    async def work() -> None:
        has_begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            has_ended.set()

    running = asyncio.create_task(run_apart(work))
    await asyncio.to_thread(has_begun.wait, 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert has_ended.is_set()


async def test_cancelled_at_once_it_ends_all_the_same() -> None:
    async def work() -> None:
        await asyncio.sleep(3600)

    running = asyncio.create_task(run_apart(work))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 5)

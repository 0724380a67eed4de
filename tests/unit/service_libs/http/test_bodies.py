import asyncio
from collections.abc import AsyncIterator

import pytest
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from service_libs.exceptions import OverloadedError
from service_libs.http.intake import MAX_BODY_BYTES, ArrivingBodies

LONG_SECONDS = 30


async def coming(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def stalling() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.Event().wait()


def receive(
    bodies: ArrivingBodies, chunks: AsyncIterator[bytes], seconds: float = LONG_SECONDS
) -> asyncio.Task[bytes]:
    deadline = asyncio.get_running_loop().time() + seconds
    return asyncio.create_task(bodies.receive(chunks, deadline))


async def test_a_body_is_received_whole() -> None:
    bodies = ArrivingBodies(1, safe_seconds=0)

    assert await receive(bodies, coming(b"{", b"}")) == b"{}"
    assert await receive(bodies, coming()) == b""


async def test_the_oldest_makes_way_for_a_new_one() -> None:
    bodies = ArrivingBodies(2, safe_seconds=0)
    oldest, younger = receive(bodies, stalling()), receive(bodies, stalling())
    await asyncio.sleep(0)

    assert await receive(bodies, coming(b"{}")) == b"{}"

    with pytest.raises(OverloadedError):
        await oldest
    assert not younger.done()
    younger.cancel()


async def test_one_that_is_still_safe_does_not_and_the_new_one_is_refused() -> None:
    bodies = ArrivingBodies(1, safe_seconds=LONG_SECONDS)
    first = receive(bodies, stalling())
    await asyncio.sleep(0)

    with pytest.raises(OverloadedError):
        await receive(bodies, coming(b"{}"))

    assert not first.done()
    first.cancel()


async def test_a_body_that_hung_up_leaves_its_room() -> None:
    bodies = ArrivingBodies(1, safe_seconds=LONG_SECONDS)
    first = receive(bodies, stalling())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})

    assert await receive(bodies, coming(b"{}")) == b"{}"


async def test_a_body_that_does_not_arrive_in_time_is_given_up() -> None:
    with pytest.raises(RequestTimeout):
        await receive(ArrivingBodies(1, safe_seconds=0), stalling(), seconds=0.01)


async def test_somebody_elses_time_out_is_passed_on() -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"{"
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await receive(ArrivingBodies(1, safe_seconds=0), breaking())


async def test_a_body_that_grows_too_large_is_refused() -> None:
    bodies = ArrivingBodies(1, safe_seconds=0)

    with pytest.raises(RequestEntityTooLarge):
        await receive(bodies, coming(b" " * MAX_BODY_BYTES, b" "))

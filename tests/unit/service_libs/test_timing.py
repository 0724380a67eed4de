"""Work that takes long lets others have their turn."""

import asyncio
import time

import pytest

from service_libs.timing import TURN_SECONDS, in_turns


async def turns_of_others(item_seconds: float, items: int) -> int:
    """Return how often somebody else had a turn while the items were worked on."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async for _ in in_turns(range(items)):
        time.sleep(item_seconds)  # noqa: ASYNC251 - work that holds up all others
    task.cancel()
    return turns


@pytest.mark.parametrize("items", [1, 5, 20])
async def test_after_each_long_item_others_have_a_turn(items: int) -> None:
    assert await turns_of_others(TURN_SECONDS, items) == items


async def test_short_items_share_a_turn() -> None:
    began_at = time.perf_counter()

    turns = await turns_of_others(0, 20_000)

    assert turns <= (time.perf_counter() - began_at) / TURN_SECONDS


async def test_the_items_come_in_their_order() -> None:
    assert [one async for one in in_turns("abc")] == ["a", "b", "c"]
    assert [one async for one in in_turns("")] == []

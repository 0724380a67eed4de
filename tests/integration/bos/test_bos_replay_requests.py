"""What running consumers are asked, in a real Postgres."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_orchestrator_service.implementations.postgres.replays import PostgresReplayRequests

ONE, OTHER = ("topic.v1", 0), ("topic.v1", 11)


@pytest.fixture
def requests(bos_engine: AsyncEngine) -> PostgresReplayRequests:
    return PostgresReplayRequests(bos_engine)


async def test_a_request_is_there_for_an_hour(
    requests: PostgresReplayRequests, bos_engine: AsyncEngine
) -> None:
    request_id = await requests.submit({ONE: 5, OTHER: 2**40})

    request = await requests.find()
    async with bos_engine.begin() as connection:
        later = "UPDATE bos.replay_requests SET asked_at = asked_at - interval '1 hour'"
        await connection.execute(text(later))

    assert request
    assert (request.request_id, request.offsets) == (request_id, {ONE: 5, OTHER: 2**40})
    assert await requests.find() is None
    assert await requests.submit({ONE: 7})
    again = await requests.find()
    assert again
    assert again.offsets == {ONE: 7}  # what has lapsed is not kept


async def test_requests_at_once_lose_nothing(requests: PostgresReplayRequests) -> None:
    partitions = [("topic.v1", number) for number in range(5)]

    await asyncio.gather(*(requests.submit({one: 3}) for one in partitions))

    request = await requests.find()
    assert request
    assert request.offsets == dict.fromkeys(partitions, 3)

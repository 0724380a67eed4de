"""A command that is too large to be sent holds up its own batch, until a person ends it."""

import asyncio
import os
import secrets
import sys

import asyncpg
import pytest

from tests.support.flow import bos_process, get_state, neighbours_of
from tests.support.flow_waiting import ESSAYS, new_batch, until_ended
from tests.support.servers import plain_url
from tests.support.stack import Stack
from tests.support.waiting import eventually

ESSAYS_AT_A_TIME = 700  # with their texts, less than a megabyte
PARTS = 7  # all of them together are more than the producer sends

pytestmark = pytest.mark.timeout(300)


async def test_a_run_whose_command_is_too_large_can_be_ended_and_its_end_is_told(
    flow_stack: Stack,
) -> None:
    large, other = new_batch(), new_batch()
    with flow_stack.serve() as (_, bcs), bos_process(flow_stack, bcs) as (_, address):
        async with neighbours_of(flow_stack) as neighbours:
            await neighbours.register(large, ["first"])
            for part in range(PARTS):
                names = [f"e{part}-{number}" for number in range(ESSAYS_AT_A_TIME)]
                await neighbours.make_ready(
                    large, {one: secrets.token_urlsafe(750) for one in names}
                )
            await until_there(flow_stack, large, 1 + PARTS * ESSAYS_AT_A_TIME)
            await neighbours.request(large, "nlp")
            await until_running(address, large)
            await neighbours.register(other, ESSAYS)
            await neighbours.request(other, "nlp")
            await until_ended(neighbours, other)
            [run] = (await get_state(address, large))["runs"]

            await cancel(flow_stack, run["run_id"])
            await until_ended(neighbours, large)

    assert neighbours.journal.commands(large) == []
    [end] = neighbours.journal.completions(large)
    assert end["data"]["final_status"] == "failed_critically"
    assert len(neighbours.journal.commands(other)) == 2


async def until_there(stack: Stack, batch: str, count: int) -> None:
    """Wait until BOS has so many essays of the batch."""
    question = "SELECT count(*) FROM bos.batch_essays WHERE batch_id = $1"

    async def are_there() -> bool:
        connection = await asyncpg.connect(plain_url(stack.postgres.url))
        try:
            return bool(await connection.fetchval(question, batch) == count)
        finally:
            await connection.close()

    await eventually(are_there, timeout_seconds=60, what="all essays of the batch")


async def until_running(address: str, batch: str) -> None:
    """Wait until the run of the batch is planned."""

    async def is_running() -> bool:
        return bool([r for r in (await get_state(address, batch))["runs"] if r["phases"]])

    await eventually(is_running, timeout_seconds=60, what="a run that is planned")


async def cancel(stack: Stack, run_id: str) -> None:
    """End the run as an operator does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "batch_orchestrator_service.cli",
        "cancel",
        run_id,
        env=os.environ | {"BOS_DATABASE_URL": stack.postgres.url},
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0

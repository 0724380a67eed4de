"""A batch for the flow, and how a test waits for what becomes of it."""

import uuid

import asyncpg

from tests.support.flow import Neighbours, get_state
from tests.support.flow_oracle import judge
from tests.support.servers import plain_url
from tests.support.stack import Stack
from tests.support.waiting import eventually

ESSAYS = ("e1", "e2", "e3")


def new_batch() -> str:
    """Return the id of a batch that nobody has heard of."""
    return f"batch-{uuid.uuid4().hex}"


async def judged(neighbours: Neighbours, address: str, *batches: str) -> list[str]:
    """Return what is wrong with all that was sent about the batches, and with what BOS shows."""
    states = {batch: await get_state(address, batch) for batch in batches}
    return judge(neighbours.journal, states)


async def until_known(address: str, batch: str) -> None:
    """Wait until BOS knows that the batch is ready."""

    async def is_known() -> bool:
        state = await get_state(address, batch)
        return state.get("batch_status") == "ready_for_pipeline_execution"

    await eventually(is_known, timeout_seconds=60, what="a batch that is ready")


async def until_ended(neighbours: Neighbours, batch: str, runs: int = 1) -> None:
    """Wait until so many runs of the batch have ended."""

    async def have_ended() -> bool:
        return len(neighbours.journal.completions(batch)) >= runs

    await eventually(have_ended, timeout_seconds=90, what=f"the end of {runs} runs")


async def until_reason(address: str, batch: str, reason: str) -> None:
    """Wait until the batch's newest run says why it waits."""

    async def waits() -> bool:
        runs = (await get_state(address, batch))["runs"]
        return bool(runs) and runs[0]["reason"] == reason

    await eventually(waits, timeout_seconds=60, what=reason)


async def until_commanded(neighbours: Neighbours, batch: str, count: int) -> None:
    """Wait until so many commands for the batch were sent."""

    async def are_there() -> bool:
        return len(neighbours.journal.commands(batch)) >= count

    await eventually(are_there, timeout_seconds=60, what=f"{count} commands")


async def until_audited(stack: Stack, user: str) -> None:
    """Wait until it is noted that there is no such batch for the user."""
    connection = await asyncpg.connect(plain_url(stack.postgres.url))

    async def is_noted() -> bool:
        decisions = await connection.fetch(
            "SELECT decision FROM bos.audit WHERE user_id = $1", user
        )
        return [one["decision"] for one in decisions] == ["not_found"]

    try:
        await eventually(is_noted, timeout_seconds=30, what="the audit")
    finally:
        await connection.close()

"""BOS dies at each side of what it awaits.

Whatever it was, each phase is commanded, always with the same bytes, and the end is reported under
one id.
"""

import asyncio
import uuid

import pytest

from service_libs.failpoints import EXIT_CODE
from tests.support.failpoints import find_failpoints
from tests.support.flow import Neighbours, bos_process, get_state, neighbours_of
from tests.support.stack import Stack
from tests.support.waiting import eventually

ESSAYS = ("e1", "e2", "e3")
# Each with the turn at which it kills: where a run has only begun, and where it is under way.
KILL_POINTS = (
    "bos.polled:2",
    "bos.handled:3",
    "bos.uncommitted:3",
    "bos.committed:2",
    "bos.resolving:1",
    "bos.resolved:1",
    "bos.planned:1",
    "bos.unsent:2",
    "bos.sent:1",
    "bos.sent:2",
    "bos.marked:1",
)
pytestmark = pytest.mark.timeout(600)


async def test_a_run_survives_a_death_at_any_point(flow_stack: Stack) -> None:
    with flow_stack.serve() as (_, bcs):
        async with neighbours_of(flow_stack) as neighbours:
            for point in KILL_POINTS:
                await survive(flow_stack, bcs, neighbours, point)
                assert neighbours.journal.contradictions() == [], point


def test_every_failpoint_of_the_orchestrator_is_tried() -> None:
    of_bos = {name for name in find_failpoints() if name.startswith("bos.")}
    assert {point.partition(":")[0] for point in KILL_POINTS} == of_bos


async def survive(stack: Stack, bcs: str, neighbours: Neighbours, point: str) -> None:
    """Kill BOS at the point, start another, and look at what became of the run."""
    batch, journal = f"batch-{uuid.uuid4().hex}", neighbours.journal
    with bos_process(stack, bcs, is_killed=True, FAILPOINT=point) as (first, _):
        await neighbours.register(batch, ESSAYS)
        await neighbours.request(batch, "nlp")
        assert await asyncio.to_thread(first.wait) == EXIT_CODE, point
    with bos_process(stack, bcs) as (_, address):

        async def has_ended() -> bool:
            return bool(journal.completions(batch))

        await eventually(has_ended, timeout_seconds=90, what=f"the end after {point}")
        state = await get_state(address, batch)

    assert [run["state"] for run in state["runs"]] == ["completed_successfully"], point
    assert len({one["event_id"] for one in journal.completions(batch)}) == 1, point
    commanded = dict.fromkeys(phase for phase, _ in journal.commands(batch))
    assert list(commanded) == ["spellcheck", "nlp"], point
    assert len({one["event_id"] for _, one in journal.commands(batch)}) == len(commanded), point
    assert journal.texts(batch, "nlp") == {one: f"corrected-{one}" for one in ESSAYS}, point

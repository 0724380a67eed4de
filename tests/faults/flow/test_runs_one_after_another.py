"""What the next run over a batch finds done, and what it does again."""

from typing import Any

import pytest

from tests.support.flow import Journal, bos_process, get_state, neighbours_of
from tests.support.flow_waiting import ESSAYS, judged, new_batch, until_audited, until_ended
from tests.support.stack import Stack

CORRECTED = {essay: f"corrected-{essay}" for essay in ESSAYS}

pytestmark = pytest.mark.timeout(300)


async def test_case_7_and_11_what_is_done_is_pruned_and_its_corrected_texts_are_handed_on(
    flow_stack: Stack,
) -> None:
    """Texts of a spellcheck that BOS had made, and of one that only BCS knows of; a stranger."""
    batch, elsewhere = new_batch(), new_batch()
    with flow_stack.serve() as (_, bcs), bos_process(flow_stack, bcs) as (_, address):
        async with neighbours_of(flow_stack) as neighbours:
            for one in (batch, elsewhere):
                await neighbours.register(one, ESSAYS)
            await neighbours.answer("spellcheck", command_of_another(elsewhere))
            await neighbours.request(elsewhere, "cj_assessment")
            for runs, pipeline in enumerate(("nlp", "cj_assessment", "nlp"), 1):
                await neighbours.request(batch, pipeline)
                await until_ended(neighbours, batch, runs)
            await neighbours.request(batch, "ai_feedback", user_id="stranger")
            await until_audited(flow_stack, "stranger")
            await until_ended(neighbours, elsewhere)
            state = await get_state(address, batch)
            faults = await judged(neighbours, address, batch, elsewhere)

    journal = neighbours.journal
    assert faults == []
    assert commanded(journal, batch) == [
        (one, list(ESSAYS)) for one in ("spellcheck", "nlp", "cj_assessment")
    ]
    assert commanded(journal, elsewhere) == [("cj_assessment", list(ESSAYS))]
    for one in (batch, elsewhere):
        assert journal.texts(one, "cj_assessment") == CORRECTED
    assert [run["state"] for run in state["runs"]] == [
        "nothing_to_do",
        "completed_successfully",
        "completed_successfully",
    ]
    assert state["batch_status"] == "completed_successfully"
    assert {p["status"] for p in state["runs"][0]["phases"]} == {"skipped_by_user_config"}
    end = journal.completions(batch)[-1]["data"]
    assert (end["final_status"], end["completed_phases"]) == ("completed_successfully", [])


async def test_case_8_and_9_failures_are_counted_and_a_retry_does_what_is_left(
    flow_stack: Stack,
) -> None:
    """One essay fails, one is in neither list; then a phase fails as a whole."""
    batch = new_batch()
    with flow_stack.serve() as (_, bcs), bos_process(flow_stack, bcs) as (_, address):
        async with neighbours_of(flow_stack) as neighbours:
            neighbours.failing = {"spellcheck": frozenset({"e2"})}
            neighbours.missing = {"spellcheck": frozenset({"e3"})}
            await neighbours.register(batch, ESSAYS)
            await neighbours.request(batch, "nlp")
            await until_ended(neighbours, batch)
            neighbours.failing, neighbours.missing = {}, {}
            neighbours.critical = {"nlp"}
            await neighbours.request(batch, "nlp", is_retry=True, retry_reason="two are left")
            await until_ended(neighbours, batch, 2)
            neighbours.critical = set()
            await neighbours.request(batch, "nlp", is_retry=True)
            await until_ended(neighbours, batch, 3)
            faults = await judged(neighbours, address, batch)

    journal = neighbours.journal
    assert faults == []
    assert commanded(journal, batch) == [
        ("spellcheck", ["e1", "e2", "e3"]),
        ("nlp", ["e1"]),
        ("spellcheck", ["e2", "e3"]),
        ("nlp", ["e2", "e3"]),
        ("nlp", ["e1", "e2", "e3"]),  # what failed as a whole has proven nothing of any essay
    ]
    assert len({command["event_id"] for _, command in journal.commands(batch)}) == 5
    assert [summary(one["data"]) for one in journal.completions(batch)] == [
        ("completed_with_failures", ["spellcheck", "nlp"], 1, 2),
        ("failed_critically", ["spellcheck"], 1, 2),
        ("completed_successfully", ["nlp"], 3, 0),
    ]


def summary(end: dict[str, Any]) -> tuple[str, list[str], int, int]:
    """Return how a run ended, what it has completed, and for how many essays."""
    return (
        end["final_status"],
        end["completed_phases"],
        end["successful_essay_count"],
        end["failed_essay_count"],
    )


def commanded(journal: Journal, batch: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a batch: phase and essays."""
    return [
        (phase, [one["essay_id"] for one in command["data"]["essays_to_process"]])
        for phase, command in journal.commands(batch)
    ]


def command_of_another(batch: str) -> dict[str, Any]:
    """Return a command that somebody else than BOS has given."""
    essays = [{"essay_id": one, "text_storage_id": f"original-{one}"} for one in ESSAYS]
    return {
        "correlation_id": "8d2c1b60-2d3c-4a0e-9a55-6b2a5f1d7a11",
        "data": {"entity_id": batch, "essays_to_process": essays},
    }

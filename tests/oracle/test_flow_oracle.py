"""The judge of the flow finds each fault that it is there for, and none in what is right."""

import json
from typing import Any

import pytest

from tests.support.flow import COMMANDS, COMPLETED, OUTCOMES, Journal
from tests.support.flow_oracle import judge

TOPICS = {phase: topic for topic, phase in COMMANDS.items()}


class Told:
    """A journal that is written by hand, and what BOS shows."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.runs: list[dict[str, Any]] = []

    def add(self, topic: str, event_id: str, run: str, data: dict[str, Any]) -> None:
        envelope = {"event_id": event_id, "correlation_id": run, "data": data}
        self.journal.records.append((topic, envelope, json.dumps(envelope).encode()))

    def command(
        self, phase: str, *essays: str, text: str, event_id: str = "", run: str = "r"
    ) -> None:
        named = [{"essay_id": one, "text_storage_id": f"{text}-{one}"} for one in essays]
        data = {"entity_id": "b", "essays_to_process": named}
        self.add(TOPICS[phase], event_id or f"{run}-{phase}", run, data)

    def outcome(self, phase: str, *essays: str, status: str = "completed_successfully") -> None:
        data = {
            "batch_id": "b",
            "phase_name": phase,
            "phase_status": status,
            "processed_essays": [
                {"essay_id": one, "text_storage_id": f"corrected-{one}"} for one in essays
            ],
            "failed_essay_ids": [],
        }
        self.add(OUTCOMES, f"outcome-{len(self.journal.records)}", "r", data)

    def end(self, event_id: str = "end", status: str = "completed_successfully") -> None:
        self.add(COMPLETED, event_id, "r", {"batch_id": "b", "final_status": status})

    def show(self, state: str, phases: dict[str, tuple[str, int]]) -> None:
        self.runs.append(
            {
                "correlation_id": "r",
                "state": state,
                "request_ids": ["click"],
                "phases": [
                    {"name": name, "status": status, "completed": completed}
                    for name, (status, completed) in phases.items()
                ],
            }
        )

    @property
    def faults(self) -> list[str]:
        return judge(self.journal, {"b": {"runs": self.runs}})


DONE = {"spellcheck": ("completed_successfully", 2), "nlp": ("completed_successfully", 2)}


def told() -> Told:
    """Return the start of a run: spellcheck, with its outcome."""
    one = Told()
    one.command("spellcheck", "e1", "e2", text="original")
    one.command("spellcheck", "e1", "e2", text="original")  # at least once
    one.outcome("spellcheck", "e1", "e2")
    return one


def test_a_run_that_went_well_has_no_fault() -> None:
    one = told()
    one.command("nlp", "e1", "e2", text="corrected")
    one.outcome("nlp", "e1", "e2")
    one.end()
    one.end()
    one.show("completed_successfully", DONE)

    assert one.faults == []


def test_other_bytes_under_one_id_are_found() -> None:
    one = told()
    one.command("nlp", "e1", text="corrected")
    one.command("nlp", "e1", "e2", text="corrected")
    one.show("running", {"spellcheck": DONE["spellcheck"], "nlp": ("in_progress", 0)})

    assert any("other bytes" in fault for fault in one.faults)


def test_a_command_before_the_outcome_is_found() -> None:
    one = Told()
    one.command("spellcheck", "e1", text="original")
    one.command("nlp", "e1", text="corrected")
    one.show("running", {"spellcheck": ("in_progress", 0), "nlp": ("in_progress", 0)})

    assert any("while the outcome of spellcheck is awaited" in fault for fault in one.faults)


@pytest.mark.parametrize("text", ["original", "other"])
def test_a_wrong_text_is_found(text: str) -> None:
    one = told()
    one.command("nlp", "e1", "e2", text=text)
    one.show("running", {"spellcheck": DONE["spellcheck"], "nlp": ("in_progress", 0)})

    assert len([fault for fault in one.faults if "is given" in fault]) == 2


def test_an_essay_that_failed_before_is_found() -> None:
    one = Told()
    one.command("spellcheck", "e1", "e2", text="original")
    one.outcome("spellcheck", "e1")
    one.command("nlp", "e1", "e2", text="corrected")
    one.show(
        "running", {"spellcheck": ("completed_with_partial_success", 1), "nlp": ("in_progress", 0)}
    )

    assert any("did not come through spellcheck" in fault for fault in one.faults)


def test_an_end_that_is_reported_under_two_ids_is_found() -> None:
    one = told()
    one.end("one")
    one.end("two")
    one.show("completed_successfully", {"spellcheck": DONE["spellcheck"]})

    assert one.faults == ["the end of a run is reported under two ids"]


@pytest.mark.parametrize("status", [None, "failed_critically"])
def test_an_end_that_is_not_reported_as_it_was_is_found(status: str | None) -> None:
    one = told()
    if status:
        one.end(status=status)
    one.show("completed_successfully", {"spellcheck": DONE["spellcheck"]})

    assert one.faults == [
        f"b: a run is completed_successfully, and its end was reported as {status}"
    ]


def test_a_phase_that_was_never_commanded_is_found() -> None:
    one = told()
    one.end()
    one.show("completed_successfully", DONE)

    assert any("nlp is completed_successfully, and was never" in one for one in one.faults)


def test_a_phase_that_was_pruned_and_commanded_is_found() -> None:
    one = told()
    one.end()
    one.show("completed_successfully", {"spellcheck": ("skipped_by_user_config", 0)})

    assert one.faults == ["b: spellcheck was pruned, and commanded"]


def test_a_late_outcome_that_changed_something_is_found() -> None:
    one = told()
    one.outcome("spellcheck", "e1")
    one.end()
    one.show("completed_successfully", {"spellcheck": ("completed_with_partial_success", 1)})

    assert any("has 1 essays" in fault for fault in one.faults)


def test_messages_of_a_run_that_is_not_there_are_found() -> None:
    assert any("BOS shows no such run" in fault for fault in told().faults)

import json
import re

import pytest

from batch_conductor_service.consuming.phase_tracking import to_update
from batch_conductor_service.models import (
    OWN_PREFIX,
    BatchRegistration,
    BatchUpdate,
    OutcomeVerdict,
    PhaseOutcome,
)
from common_core.records import RecordPosition
from common_core.topics import EventName
from tests.support.builders import (
    RecordedEvent,
    assessed,
    evidence,
    minutes,
    phase_outcome,
    recorded,
    registered,
    registration,
    spellchecked,
    update,
)
from tests.support.decoding import decode_event

HASH = re.compile(r"\A[0-9a-f]{16}\Z")


def project(event: RecordedEvent) -> BatchUpdate:
    position = RecordPosition(topic=event.topic, partition=3, offset=7)
    return to_update(decode_event(event.topic, event.value), position)


def only_outcome(event: RecordedEvent) -> PhaseOutcome:
    (only,) = project(event).outcomes
    return only


def only_registration(event: RecordedEvent) -> BatchRegistration:
    (only,) = project(event).registrations
    return only


def of_run(event: RecordedEvent, number: int = 1) -> RecordedEvent:
    """Return the event with the correlation id of that number in its envelope."""
    correlation_id = f"2f0d5a8e-0000-4000-8000-{number:012}"
    whole = json.loads(event.value) | {"correlation_id": correlation_id}
    return event._replace(value=json.dumps(whole).encode())


@pytest.mark.parametrize(
    ("status", "step_status", "storage_id"),
    [
        ("completed", "completed", "corrected-essay"),
        ("failed", "failed", None),
        ("pending", "pending", None),
        ("in_progress", "pending", None),
        ("COMPLETED", "pending", None),
        ("abandoned", "pending", None),
    ],
)
def test_a_spellchecked_essay_is_observed(
    status: str, step_status: str, storage_id: str | None
) -> None:
    event = spellchecked("batch", "essay", status, minutes(1), sent_at=minutes(9))

    assert project(event) == update(
        "batch",
        evidence("essay", step_status, minutes(1), storage_id=storage_id),
        position=(event.topic, 3, 7),
    )


def test_a_failed_essay_has_no_output_even_when_one_is_named() -> None:
    data = {
        "entity_id": "essay",
        "batch_id": "batch",
        "status": "failed",
        "corrected_text_storage_id": "left-over",
        "timestamp": minutes(0).isoformat(),
    }

    (item,) = project(recorded(EventName.SPELLCHECK_PHASE_COMPLETED, "essay", data)).evidence

    assert item.evidence.storage_id is None


class TestAssessment:
    def test_it_is_the_outcome_of_its_service_and_reports_each_essay(self) -> None:
        projected = project(assessed("batch", ["a", "both"], ["b", "both"], minutes(1)))

        (told,) = projected.outcomes
        assert told.is_own
        assert HASH.match(told.fingerprint.removeprefix(OWN_PREFIX))
        assert projected.evidence == tuple(
            evidence(essay, status, minutes(1), step="cj_assessment", source=told.fingerprint)
            for essay, status in [("a", "completed"), ("both", "failed"), ("b", "failed")]
        )

    def test_success_of_all_that_were_counted_confirms(self) -> None:
        told = only_outcome(assessed("batch", ["a", "b"], at=minutes(1)))

        assert told.verdict is OutcomeVerdict.CONFIRMS
        assert (told.step, told.status) == ("cj_assessment", "completed_successfully")
        assert (told.occurred_at, told.reported_total) == (minutes(1), 2)

    @pytest.mark.parametrize(
        "status",
        ["failed", "completed_with_failures", "unheard_of", "COMPLETED_SUCCESSFULLY", "completed"],
    )
    def test_any_other_status_refutes(self, status: str) -> None:
        told = only_outcome(assessed("batch", ["a"], status=status))

        assert (told.verdict, told.status) == (OutcomeVerdict.REFUTES, status)

    def test_the_success_of_nothing_proves_nothing(self) -> None:
        assert only_outcome(assessed("batch", [])).verdict is OutcomeVerdict.REPORTS

    def test_success_with_a_failed_essay_refutes(self) -> None:
        told = only_outcome(assessed("batch", ["a"], ["b"], status="completed_successfully"))

        assert told.verdict is OutcomeVerdict.REFUTES

    @pytest.mark.parametrize(
        ("ids", "total", "successful", "failed"),
        [
            (["a", "b"], 3, 2, 0),
            (["a", "b"], 1, 2, 0),
            (["a", "b"], 0, 0, 0),
            (["a", "b"], 2, 1, 0),
            (["a", "b"], 2, 3, 0),
            (["a", "b"], 2, 2, 1),
            (["a", "b"], 2, 1, 1),
            (["a", "a"], 2, 2, 0),
            (["a", "a"], 1, 1, 0),
            (["a", "a"], 2, 1, 0),
        ],
    )
    def test_counts_that_do_not_agree_refute(
        self, ids: list[str], total: int, successful: int, failed: int
    ) -> None:
        told = only_outcome(counted(ids, total, successful, failed))

        assert told.verdict is OutcomeVerdict.REFUTES
        assert told.reported_total == max(total, successful + failed, len(ids))

    def test_failures_with_names_leave_the_others_standing(self) -> None:
        told = only_outcome(assessed("batch", ["a"], ["b"], status="completed_with_failures"))

        assert told.verdict is OutcomeVerdict.PARTIAL

    @pytest.mark.parametrize(("total", "reported"), [(10, 10), (0, 3), (3, 3)])
    def test_the_largest_number_is_reported(self, total: int, reported: int) -> None:
        told = only_outcome(assessed("batch", ["a", "b"], ["c"], total=total))

        assert told.reported_total == reported

    def test_the_ids_count_where_they_are_more_than_was_counted(self) -> None:
        assert only_outcome(counted(["a", "b", "c"], 1, 1, 0)).reported_total == 3

    def test_another_content_has_another_fingerprint(self) -> None:
        events = [
            assessed("batch", ["a"]),
            assessed("other", ["a"]),
            assessed("batch", ["b"]),
            assessed("batch", [], ["a"]),
            assessed("batch", ["a"], status="failed"),
            assessed("batch", ["a"], total=7),
            assessed("batch", ["a"], at=minutes(1)),
        ]

        prints = {only_outcome(of_run(event)).fingerprint for event in events}
        assert len(prints) == len(events)


def counted(ids: list[str], total: int, successful: int, failed: int) -> RecordedEvent:
    """Return the success of an assessment with these counts, whatever they count."""
    whole = json.loads(assessed("batch", ids).value)
    counts = {"total_essays": total, "successful": successful, "failed": failed}
    whole["data"]["processing_summary"] |= counts
    return recorded(EventName.CJ_ASSESSMENT_COMPLETED, "batch", whole["data"])


class TestPhaseOutcome:
    def test_each_essay_is_reported_by_the_outcome_and_one_in_both_lists_failed(self) -> None:
        projected = project(phase_outcome("batch", ["a", "both"], ["b", "both"], minutes(1)))

        (told,) = projected.outcomes
        assert projected.evidence == tuple(
            evidence(essay, status, minutes(1), source=told.fingerprint, storage_id=storage_id)
            for essay, status, storage_id in [
                ("a", "completed", "spellcheck-a"),
                ("both", "failed", None),
                ("b", "failed", None),
            ]
        )
        assert told.reported_total == 4
        assert not told.is_own

    def test_success_without_failures_confirms(self) -> None:
        told = only_outcome(phase_outcome("batch", ["a"], at=minutes(1), phase="nlp"))

        assert told.verdict is OutcomeVerdict.CONFIRMS
        assert (told.step, told.status) == ("nlp", "completed_successfully")
        assert (told.occurred_at, told.reported_total) == (minutes(1), 1)

    @pytest.mark.parametrize(
        ("status", "failed"),
        [
            ("completed_successfully", ["b"]),
            ("completed_with_failures", []),
            ("failed_critically", []),
            ("COMPLETED_SUCCESSFULLY", []),
            ("unheard_of", []),
        ],
    )
    def test_anything_else_refutes(self, status: str, failed: list[str]) -> None:
        told = only_outcome(phase_outcome("batch", ["a"], failed, status=status))

        assert told.verdict is OutcomeVerdict.REFUTES

    def test_the_success_of_nothing_proves_nothing(self) -> None:
        assert only_outcome(phase_outcome("batch", [])).verdict is OutcomeVerdict.REPORTS

    def test_failures_with_names_leave_the_others_standing(self) -> None:
        told = only_outcome(phase_outcome("batch", ["a"], ["b"]))

        assert told.verdict is OutcomeVerdict.PARTIAL

    def test_a_copy_sent_later_has_the_fingerprint_of_the_original(self) -> None:
        first = phase_outcome("batch", ["a", "b"], ["c", "d"], minutes(1))
        again = phase_outcome("batch", ["b", "a"], ["d", "c"], minutes(9))

        original, copy = only_outcome(of_run(first)), only_outcome(of_run(again))

        assert HASH.match(original.fingerprint)
        assert copy.fingerprint == original.fingerprint
        assert copy.occurred_at != original.occurred_at

    def test_another_content_has_another_fingerprint(self) -> None:
        events = [
            phase_outcome("batch", ["a"]),
            phase_outcome("other", ["a"]),
            phase_outcome("batch", ["b"]),
            phase_outcome("batch", ["a"], ["b"]),
            phase_outcome("batch", [], ["a"]),
            phase_outcome("batch", ["a"], phase="nlp"),
            phase_outcome("batch", ["a"], status="failed_critically"),
        ]

        prints = {only_outcome(of_run(event)).fingerprint for event in events}
        assert len(prints) == len(events)


class TestRegistration:
    def test_it_says_how_many_essays_there_are_and_which(self) -> None:
        told = only_registration(registered("batch", 2, minutes(1)))

        assert HASH.match(told.fingerprint)
        assert told == registration(
            2, minutes(1), essays=["essay-1", "essay-2"], fingerprint=told.fingerprint
        )

    @pytest.mark.parametrize(
        ("essays", "total", "named"),
        [
            ([], 2, ()),
            (["a"], 2, ("a",)),
            (["a", "a"], 2, ("a",)),
            (["c", "b", "a"], 3, ("a", "b", "c")),
        ],
    )
    def test_it_names_essays_as_soon_as_it_names_one_and_the_larger_number_counts(
        self, essays: list[str], total: int, named: tuple[str, ...]
    ) -> None:
        told = only_registration(registered("batch", 2, essays=essays))

        assert (told.essays_total, told.essay_ids) == (total, named)

    def test_a_copy_sent_later_is_a_copy_in_whatever_order_it_names_them(self) -> None:
        data = json.loads(registered("batch", 2).value)["data"]
        first = recorded(EventName.BATCH_ESSAYS_REGISTERED, "batch", data, minutes(1))
        data["essay_ids"] = ["essay-2", "essay-1", "essay-2"]
        copy = recorded(EventName.BATCH_ESSAYS_REGISTERED, "batch", data, minutes(9))

        assert only_registration(of_run(copy)) == only_registration(of_run(first))

    @pytest.mark.parametrize("metadata", [None, {}, {"timestamp": None}])
    def test_without_a_time_of_its_own_it_has_its_envelopes(
        self, metadata: dict[str, object] | None
    ) -> None:
        data = {
            "entity_id": "batch",
            "expected_essay_count": 1,
            "essay_ids": ["a"],
            "metadata": metadata,
        }
        first, copy = (
            only_registration(recorded(EventName.BATCH_ESSAYS_REGISTERED, "batch", data, at))
            for at in (minutes(1), minutes(9))
        )

        assert (first.occurred_at, copy.occurred_at) == (minutes(1), minutes(9))
        assert first.fingerprint == copy.fingerprint

    def test_two_that_differ_in_a_correlation_id_alone_are_two(self) -> None:
        event = registered("batch", 2)
        whole = json.loads(event.value)
        whole["data"]["metadata"]["correlation_id"] = "another"
        inside = event._replace(value=json.dumps(whole).encode())

        told = [of_run(one, run) for one in (event, inside) for run in (1, 2)]

        assert len({only_registration(one).fingerprint for one in told}) == 4

    def test_another_content_has_another_fingerprint(self) -> None:
        events = [
            registered("batch", 2),
            registered("other", 2),
            registered("batch", 3),
            registered("batch", 2, essays=["a", "b"]),
            registered("batch", 2, minutes(1)),
        ]

        prints = {only_registration(of_run(event)).fingerprint for event in events}
        assert len(prints) == len(events)


@pytest.mark.parametrize("event", [assessed("batch", ["a"]), phase_outcome("batch", ["a"])])
def test_two_runs_that_say_the_same_are_two_outcomes(event: RecordedEvent) -> None:
    prints = {only_outcome(of_run(event, run)).fingerprint for run in (1, 2)}

    assert len(prints) == 2


def test_two_runs_may_differ_in_the_correlation_id_of_the_data_alone() -> None:
    told = phase_outcome("batch", [], status="failed_critically")
    whole = json.loads(told.value)
    prints = set()
    for run in ("one", "another", None):
        whole["data"]["correlation_id"] = run
        event = of_run(told._replace(value=json.dumps(whole).encode()))
        prints.add(only_outcome(event).fingerprint)

    assert len(prints) == 3

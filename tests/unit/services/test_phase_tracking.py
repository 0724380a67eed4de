import json
import re
from datetime import datetime

import pytest

from batch_conductor_service.events.decoding import decode_event
from batch_conductor_service.events.topics import EventName
from batch_conductor_service.models import (
    OBSERVED,
    BatchRegistration,
    BatchUpdate,
    EssayEvidence,
    OutcomeVerdict,
    PhaseOutcome,
    RecordPosition,
)
from batch_conductor_service.services.phase_tracking import (
    MAX_CLOCK_SKEW,
    bound_in_time,
    group_by_batch,
    to_update,
)
from tests.support.builders import (
    RecordedEvent,
    assessed,
    envelope,
    evidence,
    minutes,
    outcome,
    phase_outcome,
    recorded,
    registered,
    registration,
    spellchecked,
    update,
)

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


@pytest.mark.parametrize(
    ("status", "step_status", "storage_id"),
    [
        ("completed", "completed", "corrected-essay"),
        ("failed", "failed", None),
        ("pending", "pending", None),
        ("in_progress", "pending", None),
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
    def test_each_essay_is_observed_and_one_in_both_lists_failed(self) -> None:
        projected = project(assessed("batch", ["a", "both"], ["b", "both"], minutes(1)))

        assert {
            (item.essay_id, item.evidence.status.value, item.source) for item in projected.evidence
        } == {("a", "completed", OBSERVED), ("b", "failed", OBSERVED), ("both", "failed", OBSERVED)}
        assert {item.step for item in projected.evidence} == {"cj_assessment"}
        assert {item.evidence.occurred_at for item in projected.evidence} == {minutes(1)}

    @pytest.mark.parametrize("status", ["completed_successfully", "COMPLETED", "Success"])
    def test_success_only_reports_how_many_essays_there_are(self, status: str) -> None:
        told = only_outcome(assessed("batch", ["a"], at=minutes(1), status=status))

        assert told.verdict is OutcomeVerdict.REPORTS
        assert (told.step, told.status, told.occurred_at) == ("cj_assessment", status, minutes(1))

    @pytest.mark.parametrize("status", ["failed", "completed_with_failures", "unheard_of"])
    def test_anything_else_refutes(self, status: str) -> None:
        told = only_outcome(assessed("batch", ["a"], status=status))

        assert told.verdict is OutcomeVerdict.REFUTES

    def test_failures_with_names_leave_the_others_standing(self) -> None:
        told = only_outcome(assessed("batch", ["a"], ["b"], status="completed_with_failures"))

        assert told.verdict is OutcomeVerdict.PARTIAL

    @pytest.mark.parametrize(("total", "reported"), [(10, 10), (0, 3), (3, 3)])
    def test_the_largest_number_is_reported(self, total: int, reported: int) -> None:
        told = only_outcome(assessed("batch", ["a", "b"], ["c"], total=total))

        assert told.reported_total == reported

    def test_the_ids_count_where_they_are_more_than_was_counted(self) -> None:
        whole = envelope(EventName.CJ_ASSESSMENT_COMPLETED, {})
        data = {
            "entity_id": "batch",
            "timestamp": whole["event_timestamp"],
            "status": "completed",
            "processing_summary": {
                "total_essays": 1,
                "successful": 1,
                "failed": 0,
                "successful_essay_ids": ["a", "b"],
                "failed_essay_ids": ["c"],
            },
        }

        told = only_outcome(recorded(EventName.CJ_ASSESSMENT_COMPLETED, "batch", data))

        assert told.reported_total == 3


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
        assert told.reported_total == 3

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

    def test_failures_with_names_leave_the_others_standing(self) -> None:
        told = only_outcome(phase_outcome("batch", ["a"], ["b"]))

        assert told.verdict is OutcomeVerdict.PARTIAL

    def test_a_copy_sent_later_has_the_fingerprint_of_the_original(self) -> None:
        original = only_outcome(phase_outcome("batch", ["a", "b"], ["c", "d"], minutes(1)))
        copy = only_outcome(phase_outcome("batch", ["b", "a"], ["d", "c"], minutes(9)))

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

        assert len({only_outcome(event).fingerprint for event in events}) == len(events)


class TestRegistration:
    def test_it_says_how_many_essays_there_are_and_which(self) -> None:
        told = only_registration(registered("batch", 2, minutes(1)))

        assert HASH.match(told.fingerprint)
        assert told == registration(
            2, minutes(1), essays=["essay-1", "essay-2"], fingerprint=told.fingerprint
        )

    @pytest.mark.parametrize("essays", [[], ["a"], ["a", "a"], ["a", "b", "c"]])
    def test_the_essays_count_only_if_they_are_as_many_as_were_counted(
        self, essays: list[str]
    ) -> None:
        told = only_registration(registered("batch", 2, essays=essays))

        assert (told.essays_total, told.essay_ids) == (2, ())

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

    def test_another_content_has_another_fingerprint(self) -> None:
        events = [
            registered("batch", 2),
            registered("other", 2),
            registered("batch", 3),
            registered("batch", 2, essays=["a", "b"]),
            registered("batch", 2, minutes(1)),
        ]

        assert len({only_registration(event).fingerprint for event in events}) == len(events)


class TestGrouping:
    def test_there_is_one_update_a_batch_in_order_of_first_appearance(self) -> None:
        updates = [
            update("b", evidence("x"), position=("t", 0, 1)),
            update("a", evidence("x"), position=("t", 0, 2)),
            update("b", registration(2), outcome(), position=("u", 1, 9)),
        ]

        assert group_by_batch(updates) == [
            BatchUpdate(
                batch_id=updates[0].batch_id,
                evidence=updates[0].evidence,
                outcomes=updates[2].outcomes,
                registrations=updates[2].registrations,
                positions=updates[0].positions + updates[2].positions,
            ),
            updates[1],
        ]

    def test_of_two_statements_about_one_essay_the_one_that_holds_is_kept(self) -> None:
        old, new = evidence("x", "failed", minutes(1)), evidence("x", "completed", minutes(2))

        (grouped,) = group_by_batch([update("a", new), update("a", old)])

        assert grouped.evidence == (new,)

    def test_a_repeated_record_keeps_both_positions(self) -> None:
        event = spellchecked("batch", "essay")

        (grouped,) = group_by_batch([project(event), project(event)])

        assert len(grouped.evidence) == 1
        assert len(grouped.positions) == 2

    def test_nothing_is_grouped_into_nothing(self) -> None:
        assert group_by_batch([]) == []


class TestTimesFromTheFuture:
    """A clock days ahead must not outrank what comes after it; nor may one that is late."""

    RECORDED = minutes(0)
    FAR = minutes(60 * 24 * 365)

    def bounded(
        self,
        item: EssayEvidence | PhaseOutcome | BatchRegistration,
        *,
        recorded_at: datetime = RECORDED,
        now: datetime = RECORDED,
    ) -> BatchUpdate:
        return bound_in_time(update("batch", item), recorded_at, now)

    def test_a_success_is_not_believed(self) -> None:
        [item] = self.bounded(evidence("essay", at=self.FAR, storage_id="text")).evidence

        assert item == evidence("essay", "pending", self.RECORDED)

    def test_a_success_is_not_believed_for_its_record_s_sake(self) -> None:
        """By default the time of a record is that of its sender, too."""
        [item] = self.bounded(evidence("essay", at=self.FAR), recorded_at=self.FAR).evidence

        assert item == evidence("essay", "pending", self.RECORDED)

    def test_a_failure_stands_as_long_as_a_clock_may_be_off(self) -> None:
        [item] = self.bounded(evidence("essay", "failed", self.FAR)).evidence

        assert item == evidence("essay", "failed", self.RECORDED + MAX_CLOCK_SKEW)

    @pytest.mark.parametrize("late", ["recorded_at", "now"])
    def test_a_failure_is_not_moved_by_one_clock_that_is_late(self, late: str) -> None:
        failure = evidence("essay", "failed", self.FAR)
        times = {"recorded_at": self.FAR, "now": self.FAR} | {late: self.RECORDED}

        assert self.bounded(failure, **times).evidence == (failure,)

    @pytest.mark.parametrize(
        ("verdict", "held", "at"),
        [
            ("confirms", "partial", RECORDED),
            ("reports", "reports", RECORDED),
            ("partial", "partial", RECORDED + MAX_CLOCK_SKEW),
            ("refutes", "refutes", RECORDED + MAX_CLOCK_SKEW),
        ],
    )
    def test_an_outcome_confirms_nothing(self, verdict: str, held: str, at: datetime) -> None:
        [told] = self.bounded(outcome(verdict, self.FAR)).outcomes

        assert (told.verdict, told.occurred_at) == (held, at)

    def test_a_registration_counts_from_when_it_was_recorded(self) -> None:
        [told] = self.bounded(registration(3, self.FAR)).registrations

        assert told.occurred_at == self.RECORDED

    def test_a_registration_is_not_moved_by_our_clock(self) -> None:
        """Placed too early it would give way to one of fewer essays."""
        told = registration(3, self.FAR)

        assert self.bounded(told, recorded_at=self.FAR).registrations == (told,)

    def test_what_a_clock_may_be_off_is_left_alone(self) -> None:
        at = self.RECORDED + MAX_CLOCK_SKEW
        said = update("batch", evidence("essay", at=at), outcome("confirms", at))

        assert bound_in_time(said, self.RECORDED, self.RECORDED) == said


def test_an_outcome_without_a_correlation_id_has_that_of_its_envelope() -> None:
    """Two runs that say the same are two outcomes."""
    told = phase_outcome("batch", [], status="failed_critically")
    fingerprints = set()
    for run in ("2f0d5a8e-0000-4000-8000-000000000001", "2f0d5a8e-0000-4000-8000-000000000002"):
        envelope = json.loads(told.value) | {"correlation_id": run}
        del envelope["data"]["correlation_id"]
        fingerprints.add(
            only_outcome(told._replace(value=json.dumps(envelope).encode())).fingerprint
        )

    assert len(fingerprints) == 2

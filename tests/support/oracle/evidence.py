"""What was said of one batch, as questions about an essay in a step. Slow and obvious.

Every question reads all statements anew; nothing is merged or kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.support.oracle.statements import (
    Assessment,
    Outcome,
    OwnEvent,
    Record,
    Registration,
    Statement,
    Unreadable,
)
from tests.support.oracle.wire import (
    CJ,
    CJ_TOPIC,
    REGISTERED_TOPIC,
    SPELLCHECK,
    SPELLCHECK_TOPIC,
    read_record,
)

SUCCESS = "completed_successfully"
IN_PART = "completed_with_failures"

# At the same instant the worse word stands.
COMPLETED, PENDING, FAILED = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All statements about one batch, in any order."""

    own: Sequence[OwnEvent]
    assessments: Sequence[Assessment]
    outcomes: Sequence[Outcome]
    registrations: Sequence[Registration]
    unreadable: Sequence[Unreadable]

    def of_phase(self, step: str) -> list[Outcome]:
        return [each for each in self.outcomes if each.phase == step]

    def essays(self) -> set[str]:
        """Every essay ever heard of, in whatever step."""
        heard = {each.essay for each in self.own}
        heard |= {each.essay for each in self.unreadable if each.essay is not None}
        return heard.union(
            *(each.processed | each.failed for each in self.outcomes),
            *(each.named for each in self.assessments),
        )

    def completed_at(self, step: str, essay: str) -> int | None:
        """Return when the essay completed the step, if nothing has been said against it since.

        Its own event is its word; outcomes speak for an essay that has none.
        """
        own = self.own_word(step, essay)
        if own is not None and own[1] != COMPLETED:
            return None
        if any(own is None or own[0] <= each for each in self._own_doubts(essay, step)):
            return None
        completed = self._reported(step, essay) if own is None else own[0]
        against = self._against(step, essay)
        if completed is None or any(completed <= each for each in against):
            return None
        return completed

    def own_word(self, step: str, essay: str) -> tuple[int, int] | None:
        """Return time and state of the latest of the essay's own events."""
        words = [_own_word(each) for each in self.own if step == SPELLCHECK and each.essay == essay]
        return max(words, default=None)

    def _own_doubts(self, essay: str, step: str) -> list[int]:
        """Return when the essay may have said something that could not be read."""
        return [
            each.clocks.record
            for each in self.unreadable
            if each.topic == SPELLCHECK_TOPIC and step == SPELLCHECK and each.essay in (None, essay)
        ]

    def _against(self, step: str, essay: str) -> list[int]:
        return [
            *self.refutations(step),
            *self.failures(step, essay),
            *self.disbelieved(step, essay),
            *self.doubts(step),
        ]

    def _reported(self, step: str, essay: str) -> int | None:
        """Return when the latest outcome that is no copy named the essay as processed."""
        reports = [each for each in self._reports(step, essay) if each.clocks.believes(each.said)]
        return max(earliest_of_copies(reports).values(), default=None)

    def _reports(self, step: str, essay: str) -> list[Outcome]:
        return [each for each in self.successes(step) if essay in each.processed - each.failed]

    def successes(self, step: str) -> list[Outcome]:
        """Return the outcomes whose list of processed essays means what it says."""
        return [
            each
            for each in self.of_phase(step)
            if each.status == IN_PART or (each.status == SUCCESS and not each.failed)
        ]

    def refutations(self, step: str) -> list[int]:
        """Return when every completion of the step up to then was taken away."""
        return [
            each.clocks.bound(each.said)
            for each in self.of_phase(step)
            if (each.status == IN_PART and not each.failed)
            or (each.status == SUCCESS and each.failed)
            or each.status not in (IN_PART, SUCCESS)
        ]

    def failures(self, step: str, essay: str) -> list[int]:
        """Return when an outcome named the essay as failed."""
        return [
            each.clocks.bound(each.said) for each in self.of_phase(step) if essay in each.failed
        ]

    def disbelieved(self, step: str, essay: str) -> list[int]:
        """Return since when the essay is pending, for its success was said to be in the future."""
        return [
            each.clocks.record
            for each in self._reports(step, essay)
            if not each.clocks.believes(each.said)
        ]

    def doubts(self, step: str) -> list[int]:
        """Return from when on the whole step is in doubt, by what was no essay's own event.

        The doubt of a registration ends when a registration that is no copy comes later.
        """
        return [
            each.clocks.record
            for each in self.unreadable
            if each.topic not in (SPELLCHECK_TOPIC, CJ_TOPIC)
            and each.step in (None, step)
            and not (each.topic == REGISTERED_TOPIC and self._is_registered_after(each))
        ]

    def _is_registered_after(self, unreadable: Unreadable) -> bool:
        return any(each > unreadable.clocks.record for each in self.first_registered().values())

    def first_registered(self) -> dict[str, int]:
        """Return for each wording of a registration when it was said first."""
        times: dict[str, int] = {}
        for each in self.registrations:
            moment = each.clocks.bound_by_record(each.said)
            times[each.words] = min(moment, times.get(each.words, moment))
        return times

    def is_proven(self, step: str) -> bool:
        """Whether the step's latest outcome is a success; that of nothing is passed over."""
        told = [each for each in self.of_phase(step) if each.size or each.status != SUCCESS]
        good = [each for each in told if _is_believed(each)]
        others = [_time_of(each) for each in told if each not in good]
        latest = max(earliest_of_copies(good).values(), default=None)
        return latest is not None and all(latest > each for each in others)

    def is_denied(self, step: str) -> bool:
        """Whether something that ended the step was no success, or is not believed."""
        told: list[Outcome | Assessment] = [*self.of_phase(step)]
        told += self.assessments if step == CJ else []
        return any(not _is_believed(each) for each in told)

    def has_failed(self, step: str, essay: str) -> bool:
        """Whether the essay ever failed in the step, by anybody's word."""
        own = [each for each in self.own if step == SPELLCHECK and each.essay == essay]
        in_comparison = [each.named - each.essays for each in self.assessments if step == CJ]
        return (
            bool(self.failures(step, essay))
            or any(each.status == "failed" for each in own)
            or any(essay in each for each in in_comparison)
        )

    def sizes(self) -> list[tuple[int, int]]:
        """Return the numbers of essays that outcomes and summaries said, with their times."""
        told: list[Outcome | Assessment] = [*self.outcomes, *self.assessments]
        first = earliest_of_copies([each for each in told if _is_believed(each)])
        return [
            (first[each.words] if _is_believed(each) else _time_of(each), each.size)
            for each in told
        ]


def gather(records: Iterable[Record], batch: str) -> Evidence:
    """Return what the records say of the batch."""
    read = [each for record in records if (each := read_record(record)) and each.batch == batch]
    return Evidence(
        own=[each for each in read if isinstance(each, OwnEvent)],
        assessments=[each for each in read if isinstance(each, Assessment)],
        outcomes=[each for each in read if isinstance(each, Outcome)],
        registrations=[each for each in read if isinstance(each, Registration)],
        unreadable=[each for each in read if isinstance(each, Unreadable)],
    )


def earliest_of_copies(statements: Iterable[Statement]) -> dict[str, int]:
    """Return for each wording when it was said first."""
    times: dict[str, int] = {}
    for each in statements:
        times[each.words] = min(each.said, times.get(each.words, each.said))
    return times


def _own_word(event: OwnEvent) -> tuple[int, int]:
    if event.status != "completed":
        state = FAILED if event.status == "failed" else PENDING
        return event.clocks.bound(event.said), state
    if event.clocks.believes(event.said):
        return event.said, COMPLETED
    return event.clocks.record, PENDING


def _is_success(statement: Outcome | Assessment) -> bool:
    if isinstance(statement, Assessment):
        return statement.is_clean
    return statement.status == SUCCESS and not statement.failed


def _is_believed(statement: Outcome | Assessment) -> bool:
    """Whether it is a success whose time is believed."""
    return _is_success(statement) and statement.clocks.believes(statement.said)


def _time_of(statement: Outcome | Assessment) -> int:
    """Return the time of the statement as a whole."""
    if not _is_success(statement):
        return statement.clocks.bound(statement.said)
    return statement.said if _is_believed(statement) else statement.clocks.record

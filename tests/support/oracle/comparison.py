"""The latest comparative judgement, which alone must cover every essay."""

from collections.abc import Iterable
from dataclasses import dataclass

from tests.support.oracle.evidence import IN_PART, SUCCESS, Evidence, earliest_of_copies
from tests.support.oracle.statements import Assessment
from tests.support.oracle.wire import CJ, CJ_TOPIC

Told = tuple[int, frozenset[str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A successful comparison of all these essays with each other."""

    moment: int
    essays: frozenset[str]


def latest_comparison(evidence: Evidence, essays: Iterable[str]) -> Comparison | None:
    """Return the latest completion, if it is a success and nothing was said against it since.

    As an essay's own event is its word, so is the assessment's; outcomes speak where there is none.
    """
    own = _latest(_told_by_events(evidence))
    if any(own is None or own.moment <= each for each in _doubts_of_events(evidence)):
        return None
    latest = own if evidence.assessments else _latest(_told_by_outcomes(evidence))
    against = _against(evidence, essays)
    if latest is None or any(latest.moment <= each for each in against):
        return None
    return _narrowed(latest, evidence)


def _latest(told: list[Told]) -> Comparison | None:
    """Return the latest, unless it proves nothing; two at once cover what both of them cover."""
    moment = max((each for each, _ in told), default=None)
    covered = [essays for each, essays in told if each == moment]
    proven = [essays for essays in covered if essays is not None]
    if moment is None or len(proven) < len(covered):
        return None
    return Comparison(moment=moment, essays=frozenset.intersection(*proven))


def _narrowed(comparison: Comparison, evidence: Evidence) -> Comparison | None:
    """An outcome since then that covers less, or nothing, makes it less."""
    since = [told for told in _told_by_outcomes(evidence) if told[0] >= comparison.moment]
    if any(essays is None for _, essays in since):
        return None
    narrower = [essays for _, essays in since if essays is not None]
    essays = comparison.essays.intersection(*narrower)
    return Comparison(moment=comparison.moment, essays=essays)


def _told_by_events(evidence: Evidence) -> list[Told]:
    """Return when each assessment ended, and what it covers: None, if it proves nothing."""
    believed = [
        each for each in evidence.assessments if each.is_clean and each.clocks.believes(each.said)
    ]
    others = [each for each in evidence.assessments if each not in believed]
    covered = {each.words: each.essays for each in believed}
    told: list[Told] = [
        (moment, covered[words]) for words, moment in earliest_of_copies(believed).items()
    ]
    return told + [(_time_of_other(each), None) for each in others]


def _time_of_other(event: Assessment) -> int:
    return event.clocks.record if event.is_clean else event.clocks.bound(event.said)


def _told_by_outcomes(evidence: Evidence) -> list[Told]:
    """Return when each outcome that names essays came, and what it covers: None, if any failed."""
    reports = [
        each
        for each in evidence.of_phase(CJ)
        if each.status == SUCCESS
        and each.processed
        and not each.failed
        and each.clocks.believes(each.said)
    ]
    in_part = [each for each in evidence.of_phase(CJ) if each.status == IN_PART and each.size]
    covered = {each.words: each.processed for each in reports}
    told: list[Told] = [
        (moment, covered[words]) for words, moment in earliest_of_copies(reports).items()
    ]
    return told + [(each.clocks.bound(each.said), None) for each in in_part]


def _doubts_of_events(evidence: Evidence) -> list[int]:
    return [each.clocks.record for each in evidence.unreadable if each.topic == CJ_TOPIC]


def _against(evidence: Evidence, essays: Iterable[str]) -> list[int]:
    """Return when a comparison up to then was taken away from some essay that counts."""
    one_by_one = [
        moment
        for essay in essays
        for moment in evidence.failures(CJ, essay) + evidence.disbelieved(CJ, essay)
    ]
    return [*evidence.refutations(CJ), *evidence.doubts(CJ), *one_by_one]

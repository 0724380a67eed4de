"""Which steps of a batch may be skipped, judged from the text of the contract alone.

The second opinion that the service is held against: it imports nothing of the service, reads the
records' bytes itself, and prefers what is obvious to what is fast. Where the contract is open it
takes what runs more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.support.oracle.comparison import latest_comparison
from tests.support.oracle.evidence import Evidence, gather
from tests.support.oracle.statements import Record
from tests.support.oracle.totals import Total, count_essays
from tests.support.oracle.wire import CJ, SPELLCHECK

Graph = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The reasons that may be given for running a step; none means that it may be skipped.

    More than one reason may hold at a time, and the contract does not order them.
    """

    reasons: frozenset[str]

    @property
    def may_skip(self) -> bool:
        """Whether the step is proven complete, and all that it depends on."""
        return not self.reasons


def judge(
    records: Iterable[Record], batch: str, graph: Graph, essays_total: int | None = None
) -> dict[str, Verdict]:
    """Judge each step of the graph (step -> what it depends on) by all records, in any order."""
    evidence = gather(records, batch)
    asked = essays_total if essays_total and essays_total > 0 else None
    bench = _Judge(evidence, graph, count_essays(evidence, asked))
    return {step: Verdict(reasons=frozenset(bench.reasons_to_run(step))) for step in graph}


class _Judge:
    """One batch's evidence, held against the graph."""

    def __init__(self, evidence: Evidence, graph: Graph, total: Total) -> None:
        self._evidence = evidence
        self._graph = graph
        self._total = total
        self._heard_of = frozenset(evidence.essays())
        self._counting = total.names or self._heard_of
        self._completed: dict[str, dict[str, int]] = {}

    def reasons_to_run(self, step: str) -> set[str]:
        """Return every reason that holds; none means that the step may be skipped."""
        reasons = set() if self._is_complete(step) else self._why_incomplete(step)
        if any(self.reasons_to_run(each) for each in self._graph[step]):
            reasons.add("prerequisite_runs")
        if any(self._is_newer(each, step) for each in self._graph[step]):
            reasons.add("prerequisite_newer")
        return reasons

    def _is_complete(self, step: str) -> bool:
        """Whether every essay completed the step, whatever it depends on."""
        done = self._completions(step).keys() & self._counting
        are_all_known = bool(self._total.names) or len(self._heard_of) <= self._total.number
        is_proven = self._total.is_known or self._evidence.is_proven(step)
        is_number_sure = is_proven and are_all_known and not self._total.is_contradictory
        return is_number_sure and len(done) == self._total.number > 0

    def _is_newer(self, prerequisite: str, step: str) -> bool:
        """Whether some essay that counts completed the prerequisite after the step, or only it."""
        before, after = self._completions(prerequisite), self._completions(step)
        return any(
            essay in before and (essay not in after or after[essay] < before[essay])
            for essay in self._counting
        )

    def _completions(self, step: str) -> dict[str, int]:
        """Return when each essay completed the step."""
        if step not in self._completed:
            self._completed[step] = self._compared() if step == CJ else self._one_by_one(step)
        return self._completed[step]

    def _one_by_one(self, step: str) -> dict[str, int]:
        times = {each: self._evidence.completed_at(step, each) for each in self._heard_of}
        return {essay: moment for essay, moment in times.items() if moment is not None}

    def _compared(self) -> dict[str, int]:
        """The latest comparison is one completion: of every essay that counts, or of none."""
        latest = latest_comparison(self._evidence, self._counting)
        if latest is None or not self._counting <= latest.essays:
            return {}
        return dict.fromkeys(latest.essays, latest.moment)

    def _why_incomplete(self, step: str) -> set[str]:
        """Return the reasons that may be given: as many as hold in some reading."""
        evidence = self._evidence
        reasons = {"incomplete"}
        if not self._is_heard_of(step) or self._total.is_contradictory:
            reasons |= {"not_started", "requested"}
        if not self._total.is_known or not self._total.number:
            reasons.add("total_unknown")
        if evidence.is_denied(step):
            reasons.add("outcome_not_successful")
        if any(evidence.has_failed(step, each) for each in self._heard_of):
            reasons.add("failed_essays")
        if any(each.step in (None, step) for each in evidence.unreadable):
            reasons.add("unreadable_event")
        if step == CJ and self._is_heard_of(step):
            reasons.add("prerequisite_newer")
        return reasons

    def _is_heard_of(self, step: str) -> bool:
        """Whether anything names an essay in the step that counts."""
        evidence = self._evidence
        named = [each.processed | each.failed for each in evidence.of_phase(step)]
        named += [frozenset({each.essay}) for each in evidence.own if step == SPELLCHECK]
        named += [each.named for each in evidence.assessments if step == CJ]
        return any(each & self._counting for each in named)

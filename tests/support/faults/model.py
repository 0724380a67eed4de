"""What the service must answer, given what was sent: judged by the oracle, not by our own rules.

It also knows what may be answered while events are still on their way: any part of them may have
been heard. A step that may be skipped in no such case was skipped wrongly.

What the stores must hold is another question, and is the domain's `BatchState`, fed with all of it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain, combinations

from batch_conductor_service.consuming.phase_tracking import to_update
from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.domain.statements import bound_in_time, bounds_of
from batch_conductor_service.models import BatchId, StepName
from common_core.records import RecordPosition
from tests.support.builders import RecordedEvent
from tests.support.decoding import decode_event
from tests.support.oracle.evidence import gather
from tests.support.oracle.judge import Graph, judge
from tests.support.oracle.statements import OwnEvent, Record, Statement
from tests.support.oracle.wire import SPELLCHECK, SPELLCHECK_TOPIC, read_record

MAX_UNSETTLED_REPORTS = 10  # a thousand cases; beyond that nothing is called wrong

TOLERANCE = timedelta(seconds=60)

_NOWHERE = RecordPosition(topic="", partition=0, offset=0)


class Model:
    """The batches of one run."""

    def __init__(self, catalog: PipelineCatalog) -> None:
        self._catalog = catalog
        self._states: dict[BatchId, BatchState] = {}
        self._settled: dict[BatchId, list[Record]] = {}
        self._on_their_way: dict[BatchId, list[Record]] = {}

    @property
    def batches(self) -> list[BatchId]:
        """The batches that something was sent about."""
        return sorted(self._states)

    def send(self, event: RecordedEvent) -> None:
        """Note an event before it goes out: from now on it may be applied."""
        record = as_record(event)
        statement = read_record(record)
        assert isinstance(statement, Statement), event
        batch_id = BatchId(statement.batch)
        self._on_their_way.setdefault(batch_id, []).append(record)
        self._note_state(batch_id, event)

    def settle(self) -> None:
        """Note that everything sent so far is held: from now on all of it must be respected."""
        for batch_id, records in self._on_their_way.items():
            self._settled.setdefault(batch_id, []).extend(records)
        self._on_their_way.clear()

    def state(self, batch_id: BatchId) -> BatchState:
        """Return all that was sent about the batch."""
        return self._states[batch_id]

    def skipped(self, batch_id: BatchId, pipeline: str) -> list[StepName]:
        """Return the steps that are to be skipped when everything has been heard."""
        everything = [*self._settled.get(batch_id, ()), *self._on_their_way.get(batch_id, ())]
        return self._judge(batch_id, pipeline, everything)

    def false_greens(
        self, batch_id: BatchId, pipeline: str, skipped: Sequence[str]
    ) -> list[StepName]:
        """Return the steps that were skipped in an answer and could not have been complete."""
        wrong = {StepName(step) for step in skipped}
        settled = self._settled.get(batch_id, [])
        on_their_way = self._on_their_way.get(batch_id, [])
        for heard in _possible(batch_id, settled, on_their_way):
            if not wrong:
                break
            wrong -= set(self._judge(batch_id, pipeline, heard))
        return sorted(wrong)

    def _judge(self, batch_id: BatchId, pipeline: str, records: Sequence[Record]) -> list[StepName]:
        found = self._catalog.find(pipeline)
        assert found is not None, pipeline
        graph: Graph = {str(step.name): step.depends_on for step in found.ordered}
        verdicts = judge(records, batch_id, graph)
        return [StepName(step) for step in graph if verdicts[step].may_skip]

    def _note_state(self, batch_id: BatchId, event: RecordedEvent) -> None:
        sent_at = datetime.fromtimestamp(sent_ms(event) / 1000, UTC)
        update = to_update(decode_event(event.topic, event.value), _NOWHERE)
        bounds = bounds_of(sent_at, sent_at, TOLERANCE)
        bounded = replace(bound_in_time(update, bounds), positions=())
        self._states.setdefault(batch_id, BatchState(batch_id)).merge(bounded)


def sent_ms(event: RecordedEvent) -> int:
    """Return the time of the event's record: a relay sends an envelope when it makes it."""
    sent_at = datetime.fromisoformat(json.loads(event.value)["event_timestamp"])
    return int(sent_at.timestamp() * 1000)


def as_record(event: RecordedEvent) -> Record:
    """Return the event as the oracle takes it; in these runs no clock is off."""
    moment = sent_ms(event)
    return Record(
        topic=event.topic, key=event.key, value=event.value, sent_ms=moment, consumed_ms=moment
    )


def evidence_of(states: Iterable[BatchState]) -> set[object]:
    """Return every statement that the states hold, with its batch."""
    statements: set[object] = set()
    for state in states:
        update = state.as_update()
        for item in (*update.evidence, *update.outcomes, *update.registrations):
            statements.add((state.batch_id, item))
    return statements


def _possible(
    batch_id: BatchId, settled: Sequence[Record], on_their_way: Sequence[Record]
) -> Iterator[list[Record]]:
    """Yield what may have been heard, the best case for the answer in each choice of reports.

    Reports are tried in every combination. The essays' own events concern one essay each, so of
    them the best is chosen essay by essay.
    """
    yield [*settled, *on_their_way]
    reports = [each for each in on_their_way if each.topic != SPELLCHECK_TOPIC]
    own = [each for each in on_their_way if each.topic == SPELLCHECK_TOPIC]
    if len(reports) > MAX_UNSETTLED_REPORTS:
        reports = []
    sizes = range(len(reports) + 1)
    for chosen in chain.from_iterable(combinations(reports, size) for size in sizes):
        heard = [*settled, *chosen]
        yield [*heard, *_best_own_events(batch_id, heard, own)]


def _best_own_events(
    batch_id: BatchId, heard: Sequence[Record], own: Sequence[Record]
) -> list[Record]:
    """Choose for each essay the earliest completion that stands: what follows is no older then."""
    by_essay: dict[str, list[Record]] = {}
    for record in own:
        statement = read_record(record)
        assert isinstance(statement, OwnEvent)
        by_essay.setdefault(statement.essay, []).append(record)
    best: list[Record] = []
    for essay, records in by_essay.items():
        choices = [[], *([record] for record in records)]
        times = [
            gather([*heard, *choice], batch_id).completed_at(SPELLCHECK, essay)
            for choice in choices
        ]
        standing = [(time, choices[place]) for place, time in enumerate(times) if time is not None]
        if standing:
            best += min(standing, key=lambda it: it[0])[1]
    return best

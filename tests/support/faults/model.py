"""What the state must be, given what was sent: the domain's own `BatchState`, fed with all of it.

It also knows what may be answered while events are still on their way: `most` has of each event
that is not settled only what completes. A step that is not complete there is complete in no state
that the service can rightly be in.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.events.decoding import decode_event
from batch_conductor_service.models import (
    BatchId,
    BatchUpdate,
    OutcomeVerdict,
    ProcessingStepStatus,
    RecordPosition,
    StepName,
)
from batch_conductor_service.services.phase_tracking import to_update
from batch_conductor_service.services.pipeline_rules import DefaultPipelineRules
from tests.support.builders import RecordedEvent
from tests.support.pipelines import DEPENDENCIES

_NOWHERE = RecordPosition(topic="", partition=0, offset=0)
_AGAINST = frozenset({OutcomeVerdict.PARTIAL, OutcomeVerdict.REFUTES})


class Model:
    """The batches of one run."""

    def __init__(self, catalog: PipelineCatalog) -> None:
        self._catalog = catalog
        self._rules = DefaultPipelineRules()
        self._sent: dict[BatchId, BatchState] = {}
        self._most: dict[BatchId, BatchState] = {}

    @property
    def batches(self) -> list[BatchId]:
        """The batches that something was sent about."""
        return sorted(self._sent)

    def send(self, event: RecordedEvent) -> None:
        """Note an event before it goes out: from now on it may be applied."""
        update = replace(to_update(decode_event(event.topic, event.value), _NOWHERE), positions=())
        batch_id = update.batch_id
        self._sent.setdefault(batch_id, BatchState(batch_id)).merge(update)
        most = self._most.setdefault(batch_id, BatchState(batch_id))
        most.merge(_at_most(update, most))

    def settle(self) -> None:
        """Note that everything sent so far is held: from now on all of it must be respected."""
        for batch_id, state in self._sent.items():
            self._most[batch_id] = BatchState(batch_id)
            self._most[batch_id].merge(state.as_update())

    def state(self, batch_id: BatchId) -> BatchState:
        """Return all that was sent about the batch."""
        return self._sent[batch_id]

    def skipped(self, batch_id: BatchId, pipeline: str) -> list[StepName]:
        """Return the steps that are to be skipped when everything has been heard."""
        return self._prune(self._sent[batch_id], pipeline)

    def false_greens(
        self, batch_id: BatchId, pipeline: str, skipped: Sequence[str]
    ) -> list[StepName]:
        """Return the steps that were skipped in an answer and could not have been complete."""
        possible = self._prune(self._most[batch_id], pipeline)
        return [StepName(step) for step in skipped if step not in possible]

    def _prune(self, state: BatchState, pipeline: str) -> list[StepName]:
        found = self._catalog.find(pipeline)
        assert found is not None, pipeline
        steps = self._rules.resolve_pipeline_dependencies(found)
        phases = self._rules.prune_completed_steps(steps, state.summarise(DEPENDENCIES))
        return [phase.step.name for phase in phases if phase.verdict == "skip"]


def evidence_of(states: Iterable[BatchState]) -> set[object]:
    """Return every statement that the states hold, with its batch."""
    statements: set[object] = set()
    for state in states:
        update = state.as_update()
        for item in (*update.evidence, *update.outcomes, *update.registrations):
            statements.add((state.batch_id, item))
    return statements


def _at_most(update: BatchUpdate, known: BatchState) -> BatchUpdate:
    """Return of the update what can only make a step more complete.

    A failure cannot, unless it is a copy of a report that is known: of copies the earliest time
    holds, and an earlier failure outdoes less.
    """
    reports = {outcome.fingerprint for outcome in known.as_update().outcomes}
    return replace(
        update,
        evidence=tuple(
            item
            for item in update.evidence
            if item.source in reports or item.evidence.status is ProcessingStepStatus.COMPLETED
        ),
        outcomes=tuple(
            one
            for one in update.outcomes
            if one.fingerprint in reports or one.verdict not in _AGAINST
        ),
    )

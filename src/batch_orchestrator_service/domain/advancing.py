"""What happens to a run: planned, outcome by outcome, to its end.

Pure: a state in, a state and what is to be sent out. A phase is commanded when all before it have
ended, and only then; nothing moves back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from batch_orchestrator_service.domain import identity, texts
from batch_orchestrator_service.domain.models import BatchState, Output, Phase, Run
from batch_orchestrator_service.domain.resolving import awake
from batch_orchestrator_service.domain.states import PhaseStatus, RunState
from batch_orchestrator_service.domain.texts import Selection

COMPLETED_SUCCESSFULLY = "completed_successfully"
COMPLETED_WITH_FAILURES = "completed_with_failures"
FAILED_CRITICALLY = "failed_critically"
ENDING = frozenset({COMPLETED_SUCCESSFULLY, COMPLETED_WITH_FAILURES, FAILED_CRITICALLY})

Deadline = Callable[[str], timedelta]  # of a phase, by its name


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A phase to be started: for which essays, with which texts."""

    message_id: UUID
    run: Run
    phase: Phase
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The end of a run, to be told to everybody once."""

    message_id: UUID
    run: Run
    status: str
    completed_phases: tuple[str, ...]
    successful: int
    failed: int


Message = Command | Completion


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The state after something happened, and what is to be sent, both or neither."""

    state: BatchState
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a phase ended, as ELS says."""

    correlation_id: UUID | None
    phase: str
    status: str
    processed: Mapping[str, str | None]  # essay -> its text, if one was made


class Effect(StrEnum):
    """What an outcome did; all but the first are counted, and move nothing."""

    MOVED = "moved"
    FOREIGN = "foreign"  # of no open run
    UNEXPECTED = "unexpected"  # of a phase that is not awaited: early, late, or never commanded
    NO_END = "no_end"  # its status ends nothing


def start(
    state: BatchState, run: Run, phases: Sequence[Phase], now: datetime, deadline: Deadline
) -> Step:
    """Store the plan of the run and begin its first phase; a plan of nothing ends it."""
    planned = replace(run, phases=tuple(phases), started_at=now, reason=None, next_try_at=None)
    if not any(phase.status.is_to_come for phase in phases):
        return _end(state, planned, RunState.NOTHING_TO_DO, now)
    return _go_on(state, replace(planned, state=RunState.RUNNING), now, deadline)


def take_outcome(
    state: BatchState, outcome: Outcome, now: datetime, deadline: Deadline
) -> tuple[Step, Effect]:
    """Take an outcome in: it moves something only if it is the one that is awaited."""
    state = replace(state, outcome_at=_latest(state.outcome_at, now))
    run = state.open_run
    if run is None or run.correlation_id != outcome.correlation_id:
        return Step(state=state), Effect.FOREIGN
    phase = run.current
    if phase is None or phase.name != outcome.phase:
        return Step(state=state), Effect.UNEXPECTED
    if outcome.status not in ENDING:
        return Step(state=state), Effect.NO_END
    ended = _ended(phase, outcome, now)
    state = _with_outputs(state, ended, outcome, now)
    run = run.with_phase(ended)
    if outcome.status == FAILED_CRITICALLY:
        return _fail(state, run, now), Effect.MOVED
    return _go_on(state, run, now, deadline), Effect.MOVED


def cancel(state: BatchState, run: Run, now: datetime) -> Step:
    """End the run, whether it runs or waits, at a person's wish."""
    if run.current is not None:
        # It may yet make texts, of which only BCS will hear.
        state = _without_outputs(state, run.current.name, run.current.dispatched)
    phases = tuple(
        replace(one, status=PhaseStatus.CANCELLED, ended_at=one.ended_at or now)
        if one.status.is_to_come or one.status.is_dispatched
        else one
        for one in run.phases
    )
    return _end(state, replace(run, phases=phases), RunState.CANCELLED, now)


def _go_on(state: BatchState, run: Run, now: datetime, deadline: Deadline) -> Step:
    """Command the next phase; end the run where none is left, or no essay that has not failed."""
    run, phase, selection = _find_next(state, run, now)
    if _failed_essays(state, run) >= set(state.batch.texts):
        return _fail(state, run, now)
    if phase is None:
        return _end(state, run, _good_end(state, run), now)
    commanded = replace(
        phase,
        status=PhaseStatus.DISPATCH_INITIATED,
        dispatched=tuple(selection.texts),
        left_out=selection.left_out,
        # Of the runs that are kept: what is old is deleted one day.
        attempt=1 + max((one.attempt for one in state.commanded(phase.name)), default=0),
        dispatched_at=now,
        deadline_at=now + deadline(phase.name),
    )
    run = run.with_phase(commanded)
    command = Command(
        message_id=identity.command_id(run.run_id, phase.name),
        run=run,
        phase=commanded,
        texts=selection.texts,
    )
    return Step(state=state.with_run(run), messages=(command,))


def _find_next(state: BatchState, run: Run, now: datetime) -> tuple[Run, Phase | None, Selection]:
    """Return the next phase that has essays, if any, with the run: those without are over.

    An essay that fails whenever it is tried must not keep the others from what they have earned.
    """
    for phase in run.phases:
        if not phase.status.is_to_come:
            continue
        selection = texts.select(state, run, phase)
        if selection.texts:
            return run, phase, selection
        nobody = replace(
            phase, status=_status_of_nobody(run, phase), left_out=selection.left_out, ended_at=now
        )
        run = run.with_phase(nobody)
    return run, None, Selection(texts={}, left_out=())


def _status_of_nobody(run: Run, phase: Phase) -> PhaseStatus:
    before = [one for name in phase.depends_on if (one := run.phase(name)) is not None]
    if any(one.failed or one.left_out for one in before):
        return PhaseStatus.SKIPPED_DUE_TO_DEPENDENCY_FAILURE
    return PhaseStatus.FAILED


def _ended(phase: Phase, outcome: Outcome, now: datetime) -> Phase:
    """Return the phase with its outcome: only the essays that it was commanded for count."""
    processed = tuple(essay for essay in phase.dispatched if essay in outcome.processed)
    phase = replace(phase, outcome=outcome.status, ended_at=now)
    if outcome.status == FAILED_CRITICALLY or not processed:
        return replace(phase, status=PhaseStatus.FAILED)
    is_whole = len(processed) == len(phase.dispatched) and not phase.left_out
    status = (
        PhaseStatus.COMPLETED_SUCCESSFULLY
        if is_whole
        else PhaseStatus.COMPLETED_WITH_PARTIAL_SUCCESS
    )
    return replace(phase, status=status, processed=processed)


def _with_outputs(state: BatchState, phase: Phase, outcome: Outcome, now: datetime) -> BatchState:
    """Keep the texts of the essays that came through; one without has none that is the newest."""
    state = _without_outputs(state, phase.name, phase.processed)
    made = {
        essay: Output(text_id=text_id, made_at=now)
        for essay in phase.processed
        if (text_id := outcome.processed[essay]) is not None
    }
    return replace(
        state, outputs={**state.outputs, phase.name: {**state.outputs[phase.name], **made}}
    )


def _without_outputs(state: BatchState, phase: str, essays: Iterable[str]) -> BatchState:
    """Forget what the phase made of these essays before: then BCS is asked for the newest."""
    gone = set(essays)
    kept = {e: made for e, made in state.outputs.get(phase, {}).items() if e not in gone}
    return replace(state, outputs={**state.outputs, phase: kept})


def _fail(state: BatchState, run: Run, now: datetime) -> Step:
    phases = tuple(
        replace(one, status=PhaseStatus.SKIPPED_DUE_TO_DEPENDENCY_FAILURE, ended_at=now)
        if one.status.is_to_come
        else one
        for one in run.phases
    )
    return _end(state, replace(run, phases=phases), RunState.FAILED_CRITICALLY, now)


def _end(state: BatchState, run: Run, end: RunState, now: datetime) -> Step:
    ended = replace(run, state=end, reason=None, ended_at=now, next_try_at=None)
    failed = _failed_essays(state, ended)
    total = max(len(state.batch.texts), state.batch.expected)
    completion = Completion(
        message_id=identity.completion_id(run.run_id),
        run=ended,
        status=_status(end),
        completed_phases=tuple(one.name for one in ended.phases if one.status.is_completed),
        successful=total - len(failed) - _missing(state),
        failed=len(failed) + _missing(state),
    )
    return Step(state=awake(state.with_run(ended), now), messages=(completion,))


def _good_end(state: BatchState, run: Run) -> RunState:
    has_failures = _missing(state) or any(one.failed or one.left_out for one in run.phases)
    return RunState.COMPLETED_WITH_FAILURES if has_failures else RunState.COMPLETED_SUCCESSFULLY


def _status(end: RunState) -> str:
    """Return the end of the run in the words of the event, which knows three."""
    match end:
        case RunState.NOTHING_TO_DO | RunState.COMPLETED_SUCCESSFULLY:
            return COMPLETED_SUCCESSFULLY
        case RunState.COMPLETED_WITH_FAILURES:
            return COMPLETED_WITH_FAILURES
        case _:
            return FAILED_CRITICALLY


def _failed_essays(state: BatchState, run: Run) -> set[str]:
    """Return the essays that in any phase of the run were wanted and did not come through."""
    return set(state.batch.texts) & _all(one.failed + one.left_out for one in run.phases)


def _all(groups: Iterable[tuple[str, ...]]) -> set[str]:
    return {essay for group in groups for essay in group}


def _missing(state: BatchState) -> int:
    """Return how many essays were registered and never came."""
    return max(0, state.batch.expected - len(state.batch.texts))


def _latest(one: datetime | None, other: datetime) -> datetime:
    return other if one is None or other > one else one

"""Which run of a batch is worked on next, and what becomes of one that cannot be planned. Pure.

One run of a batch is open at a time; the others wait in the order in which they were accepted. What
a run waits for, its batch and then BCS, has a time each, from the first try; then it is rejected.
Only the run that is next has a time at which it is looked at.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from batch_orchestrator_service.domain.models import BatchState, Run
from batch_orchestrator_service.domain.states import RejectionReason, RunState, WaitReason

PATIENCE = timedelta(minutes=10)
DEGRADED_PATIENCE = timedelta(seconds=60)  # for a better answer than one that doubts


def begin(state: BatchState, now: datetime, lease: timedelta) -> tuple[BatchState, Run | None]:
    """Open the oldest waiting run; return it where it is to be resolved now.

    Whoever resolves it has the lease; a run whose resolver died is begun again after it.
    """
    run = state.open_run or next(iter(state.waiting), None)
    if run is None or run.state is RunState.RUNNING or _is_held(run, now):
        return state, None
    if not state.batch.is_ready:
        return _wait(state, run, WaitReason.BATCH_NOT_READY, now, now + PATIENCE), None
    if run.state is RunState.ACCEPTED and run.reason != WaitReason.RESOLUTION_UNAVAILABLE:
        run = replace(run, reason=None, tried_at=now)  # BCS has a time of its own
    opened = replace(run, state=RunState.RESOLVING, next_try_at=now + lease)
    return state.with_run(opened), opened


def postpone(
    state: BatchState,
    run: Run,
    now: datetime,
    retry_at: datetime,
    *,
    is_degraded: bool = False,
) -> BatchState:
    """Have the run wait for BCS, or for its better answer; reject it when it has waited too long.

    An answer that doubts is waited out anew each time that there was none at all in between.
    """
    degraded_at = (run.degraded_at or now) if is_degraded else None
    run = replace(run, degraded_at=degraded_at)
    return _wait(state, run, WaitReason.RESOLUTION_UNAVAILABLE, now, retry_at)


def is_degraded_answer_obeyed(run: Run, now: datetime) -> bool:
    """Whether a better answer was waited for long enough: to run more is better than to reject."""
    return now >= min(
        (run.degraded_at or now) + DEGRADED_PATIENCE, (run.tried_at or now) + PATIENCE
    )


def find_held(state: BatchState, run: Run) -> Run | None:
    """Return the run as it is now, where whoever began it still has it.

    Else it was cancelled, or its lease has ended and another has it. Clicks that joined it in the
    meantime are its own, and no reason to ask BCS anew.
    """
    found = state.find_run(run.run_id)
    if found is None or replace(found, request_ids=run.request_ids) != run:
        return None
    return found


def release(state: BatchState, run: Run, now: datetime) -> BatchState:
    """Give the run to whoever looks next: its resolver stops, and does not wait for the answer."""
    held = find_held(state, run)
    return state.with_run(replace(held, next_try_at=now)) if held else state


def reject(state: BatchState, run: Run, reason: RejectionReason, now: datetime) -> BatchState:
    """End a run that can never be planned. Nobody is told of it but who asks for its status."""
    rejected = replace(run, state=RunState.REJECTED, reason=reason, ended_at=now, next_try_at=None)
    return awake(state.with_run(rejected), now)


def awake(state: BatchState, now: datetime) -> BatchState:
    """Have the oldest waiting run looked at now: its batch is ready, or the run before it ended."""
    if state.open_run is not None or not state.waiting:
        return state
    return state.with_run(replace(state.waiting[0], next_try_at=now))


def _wait(
    state: BatchState, run: Run, reason: WaitReason, now: datetime, retry_at: datetime
) -> BatchState:
    until = (run.tried_at or now) + PATIENCE
    if now >= until:
        return reject(state, run, RejectionReason(reason.value), now)
    waiting = replace(
        run,
        state=RunState.ACCEPTED,
        reason=reason,
        tried_at=run.tried_at or now,
        next_try_at=min(retry_at, until),
    )
    return state.with_run(waiting)


def _is_held(run: Run, now: datetime) -> bool:
    """Whether it is not yet time for the run, or another resolver has it."""
    return run.next_try_at is not None and run.next_try_at > now

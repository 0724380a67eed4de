"""From a click to its run: a new one, one that is there already, or a refusal. Pure.

A click is never lost and two runs never mix: whoever asks again for what waits or runs joins it,
whoever asks for something else waits his turn.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from batch_orchestrator_service.domain import identity
from batch_orchestrator_service.domain.models import BatchState, Request, Run
from batch_orchestrator_service.domain.states import RejectionReason, RunState, WaitReason

MAX_WAITING = 10  # runs of one user and batch


class Decision(StrEnum):
    """What became of a request; for the audit."""

    NEW_RUN = "new_run"
    SAME_REQUEST = "same_request"  # it was here before
    JOINED_RUN = "joined_run"  # the same user's same pipeline waits or runs
    NOT_FOUND = "not_found"  # the batch is another's, and so there is none
    REQUEST_ID_REUSED = "request_id_reused"
    TOO_MANY_WAITING = "too_many_waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The state after a request, and what became of it; a stranger's request has no run."""

    state: BatchState
    decision: Decision
    run: Run | None


def accept(
    state: BatchState, request: Request, now: datetime, *, is_taken_elsewhere: bool = False
) -> Accepted:
    """Take a request in. The same request again changes nothing.

    Args:
        state: what is known of the batch.
        request: the click.
        now: the time of day.
        is_taken_elsewhere: whether a request over another batch has its id.
    """
    if state.batch.user_id not in {None, request.user_id}:
        return Accepted(state=state, decision=Decision.NOT_FOUND, run=None)
    if is_taken_elsewhere:
        return _refuse_reused(state, request, now)
    known = state.fingerprints.get(request.request_id)
    if known is not None:
        return _find_again(state, request, known, now)
    if same := _find_joinable(state, request):
        joined = replace(same, request_ids=(*same.request_ids, request.request_id))
        return _accepted(_noted(state, request).with_run(joined), Decision.JOINED_RUN, joined)
    run = _make_run(state, request, now)
    if len([one for one in state.waiting if one.user_id == request.user_id]) >= MAX_WAITING:
        run = _refused(run, RejectionReason.TOO_MANY_WAITING, now)
        return _accepted(_noted(state, request).with_run(run), Decision.TOO_MANY_WAITING, run)
    return _accepted(_noted(state, request).with_run(run), Decision.NEW_RUN, run)


def _find_again(state: BatchState, request: Request, known: str, now: datetime) -> Accepted:
    found = next(run for run in state.runs if request.request_id in run.request_ids)
    if known == request.fingerprint:
        return _accepted(state, Decision.SAME_REQUEST, found)
    return _refuse_reused(state, request, now)


def _refuse_reused(state: BatchState, request: Request, now: datetime) -> Accepted:
    run_id = identity.refused_run_id(request.request_id, request.fingerprint)
    if seen := [run for run in state.runs if run.run_id == run_id]:
        return _accepted(state, Decision.REQUEST_ID_REUSED, seen[0])
    # Its id leads to the run of the other request, so this one is reached by none.
    run = replace(_make_run(state, request, now), run_id=run_id, request_ids=())
    run = _refused(run, RejectionReason.REQUEST_ID_REUSED, now)
    return _accepted(state.with_run(run), Decision.REQUEST_ID_REUSED, run)


def _find_joinable(state: BatchState, request: Request) -> Run | None:
    """Return the run that the request joins: a retry only another retry that still waits."""
    for run in state.runs:
        is_same = (run.user_id, run.pipeline) == (request.user_id, request.pipeline)
        if is_same and request.is_retry and run.is_retry and run.state is RunState.ACCEPTED:
            return run
        if is_same and not request.is_retry and not run.state.has_ended:
            return run
    return None


def _make_run(state: BatchState, request: Request, now: datetime) -> Run:
    run_id = identity.run_id(request.request_id, request.user_id)
    is_next = state.open_run is None and not state.waiting
    taken = {run.correlation_id for run in state.runs}
    is_taken = request.correlation_id in taken
    return Run(
        run_id=run_id,
        pipeline=request.pipeline,
        user_id=request.user_id,
        correlation_id=identity.correlation_id(run_id) if is_taken else request.correlation_id,
        client_correlation_id=request.correlation_id,
        accepted_at=now,
        request_ids=(request.request_id,),
        is_retry=request.is_retry,
        retry_reason=request.retry_reason,
        prompt=request.prompt,
        reason=_why_it_waits(state, is_next=is_next),
        next_try_at=now if is_next else None,
    )


def _why_it_waits(state: BatchState, *, is_next: bool) -> WaitReason | None:
    if not is_next:
        return WaitReason.EARLIER_RUN_OPEN
    return None if state.batch.is_ready else WaitReason.BATCH_NOT_READY


def _refused(run: Run, reason: RejectionReason, now: datetime) -> Run:
    return replace(run, state=RunState.REJECTED, reason=reason, ended_at=now, next_try_at=None)


def _noted(state: BatchState, request: Request) -> BatchState:
    known: dict[UUID, str] = {**state.fingerprints, request.request_id: request.fingerprint}
    return replace(state, fingerprints=known)


def _accepted(state: BatchState, decision: Decision, run: Run) -> Accepted:
    return Accepted(state=state, decision=decision, run=run)

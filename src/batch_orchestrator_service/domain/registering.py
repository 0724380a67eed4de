"""What becomes known of a batch: its owner, its course, its essays with their texts. Pure.

The events about a batch come in any order, and more than once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from batch_orchestrator_service.domain.models import BatchState, Run
from batch_orchestrator_service.domain.resolving import awake


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Whose batch it is, and what it is for."""

    user_id: str
    course_code: str
    expected: int
    is_guest: bool
    prompt_ref: Mapping[str, object] | None = None


def register(state: BatchState, said: Registration, now: datetime) -> tuple[BatchState, list[Run]]:
    """Note whose batch it is; return the runs that strangers asked for before that was known.

    They are gone from the state: nothing of a stranger's request is kept but its audit. The owner
    stays who it was first; everything else is as the latest registration says.
    """
    owner = state.batch.user_id or said.user_id
    batch = replace(
        state.batch,
        user_id=owner,
        course_code=said.course_code,
        expected=said.expected,
        is_guest=said.is_guest,
        prompt_ref=said.prompt_ref or state.batch.prompt_ref,
    )
    strange = [run for run in state.runs if run.user_id != owner]
    ids = {request_id for run in strange for request_id in run.request_ids}
    kept = replace(
        state,
        batch=batch,
        runs=tuple(run for run in state.runs if run.user_id == owner),
        fingerprints={one: text for one, text in state.fingerprints.items() if one not in ids},
    )
    return awake(kept, now), strange


def take_ready_essays(
    state: BatchState,
    texts: Mapping[str, str],
    now: datetime,
    prompt_ref: Mapping[str, object] | None = None,
) -> BatchState:
    """Note that the essays of the batch are there, and a prompt that the registration lacks."""
    batch = replace(
        state.batch,
        texts={**state.batch.texts, **texts},
        prompt_ref=state.batch.prompt_ref or prompt_ref,
        has_ready_essays=True,
    )
    return awake(replace(state, batch=batch), now)


def take_provisioned(
    state: BatchState, texts: Mapping[str, str], expected: int, now: datetime
) -> BatchState:
    """Note that the content of the batch is there, or as much of it as will ever be."""
    known = {**state.batch.texts, **texts}
    batch = replace(
        state.batch,
        texts=known,
        expected=max(state.batch.expected, expected),
        is_provisioned=True,
    )
    return awake(replace(state, batch=batch), now)

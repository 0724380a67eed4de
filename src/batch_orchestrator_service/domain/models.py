"""What BOS knows of one batch: the batch itself, its runs, and the texts that phases made. Pure.

One value holds all of it, read and written under the lock of the batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from batch_orchestrator_service.domain.states import PhaseStatus, RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a run was given beside its pipeline; at most one of the two."""

    assignment_id: str | None = None
    cms_prompt_ref: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One click: what a client asked for.

    Attributes:
        fingerprint: of the batch and the body; the same id with another one is another request.
    """

    request_id: UUID
    batch_id: str
    pipeline: str
    user_id: str
    correlation_id: UUID
    fingerprint: str
    is_retry: bool = False
    retry_reason: str | None = None
    prompt: Prompt = field(default_factory=Prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch, as far as its registration and its readiness have said it.

    Attributes:
        user_id: the owner; None until the batch is registered.
        expected: how many essays were registered; those that never came count as failed.
        texts: essay -> original text; empty until they are there.
        has_ready_essays: its essays are said to be ready.
        is_provisioned: its content is said to be there, which is enough for a guest's batch.
    """

    batch_id: str
    user_id: str | None = None
    course_code: str = ""
    expected: int = 0
    is_guest: bool = False
    prompt_ref: Mapping[str, object] | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    has_ready_essays: bool = False
    is_provisioned: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether runs over the batch may begin."""
        is_there = self.has_ready_essays or (self.is_guest and self.is_provisioned)
        return self.user_id is not None and is_there


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A phase of a run.

    Attributes:
        pending: the essays that still needed it when the run was planned; None where not known.
        dispatched: the essays that it was commanded for.
        left_out: those that it was not, for they failed before or have no text.
        outcome: how it ended, in ELS's words.
        depends_on: all that it is made from, directly or not.
        attempt: which command of this phase that is, over all runs of the batch.
    """

    name: str
    status: PhaseStatus
    event_type: str
    depends_on: tuple[str, ...] = ()
    skip_reason: str | None = None
    pending: frozenset[str] | None = None
    dispatched: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    processed: tuple[str, ...] = ()
    outcome: str | None = None
    attempt: int = 0
    dispatched_at: datetime | None = None
    deadline_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def failed(self) -> tuple[str, ...]:
        """The essays that were commanded and did not come through; none before the outcome."""
        if self.ended_at is None:
            return ()
        done = set(self.processed)
        return tuple(essay for essay in self.dispatched if essay not in done)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a pipeline over a batch, made by one click or by several.

    Attributes:
        correlation_id: the run's own, by which outcomes are known to be its.
        reason: why it waits, or was refused.
        tried_at: when what it waits for was first tried: it must come within a time from then.
        degraded_at: since when BCS has given nothing but answers that doubt.
        next_try_at: when it is to be looked at again; None while it waits behind another.
    """

    run_id: UUID
    pipeline: str
    user_id: str
    correlation_id: UUID
    client_correlation_id: UUID
    accepted_at: datetime
    request_ids: tuple[UUID, ...] = ()
    is_retry: bool = False
    retry_reason: str | None = None
    prompt: Prompt = field(default_factory=Prompt)
    state: RunState = RunState.ACCEPTED
    reason: str | None = None
    pipeline_version: str | None = None
    phases: tuple[Phase, ...] = ()
    tried_at: datetime | None = None
    degraded_at: datetime | None = None
    next_try_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    def phase(self, name: str) -> Phase | None:
        """Return the phase of that name, if the run has it."""
        return next((phase for phase in self.phases if phase.name == name), None)

    @property
    def current(self) -> Phase | None:
        """The phase whose outcome is awaited; there is at most one."""
        return next((phase for phase in self.phases if phase.status.is_dispatched), None)

    def with_phase(self, changed: Phase) -> "Run":
        """Return the run with this phase in place of the one of its name."""
        phases = tuple(changed if one.name == changed.name else one for one in self.phases)
        return replace(self, phases=phases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The text that a phase made of an essay."""

    text_id: str
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """All that is known of a batch.

    Attributes:
        runs: in the order in which they were accepted.
        fingerprints: of every request that made or joined a run.
        outputs: phase -> essay -> its newest text.
        outcome_at: when the newest outcome of the batch was consumed.
    """

    batch_id: str
    batch: Batch
    runs: tuple[Run, ...] = ()
    fingerprints: Mapping[UUID, str] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, Output]] = field(default_factory=dict)
    outcome_at: datetime | None = None

    @property
    def open_run(self) -> Run | None:
        """The run that is worked on; there is at most one."""
        return next((run for run in self.runs if run.state.is_open), None)

    @property
    def waiting(self) -> Sequence[Run]:
        """The runs that wait, the oldest first."""
        return [run for run in self.runs if run.state is RunState.ACCEPTED]

    def find_run(self, run_id: UUID) -> Run | None:
        """Return the run of that id, if the batch has it."""
        return next((run for run in self.runs if run.run_id == run_id), None)

    def with_run(self, changed: Run) -> "BatchState":
        """Return the state with this run in place of the one of its id, or as the newest."""
        if all(run.run_id != changed.run_id for run in self.runs):
            return replace(self, runs=(*self.runs, changed))
        runs = tuple(changed if run.run_id == changed.run_id else run for run in self.runs)
        return replace(self, runs=runs)

    def ended_since(self, before: "BatchState") -> list[Run]:
        """Return the runs that have ended since the batch was as given."""
        ended = {run.run_id for run in before.runs if run.state.has_ended}
        return [run for run in self.runs if run.state.has_ended and run.run_id not in ended]

    def commanded(self, phase: str) -> Iterator[Phase]:
        """Return every command of that phase so far, over all runs."""
        for run in self.runs:
            one = run.phase(phase)
            if one is not None and one.attempt:
                yield one

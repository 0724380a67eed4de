"""The states of runs and phases, and why a run waits or was refused. Closed sets. Pure."""

from enum import StrEnum


class RunState(StrEnum):
    """Where a run stands; the last seven are ends."""

    ACCEPTED = "accepted"
    RESOLVING = "resolving"
    RUNNING = "running"
    COMPLETED_SUCCESSFULLY = "completed_successfully"
    COMPLETED_WITH_FAILURES = "completed_with_failures"
    FAILED_CRITICALLY = "failed_critically"
    NOTHING_TO_DO = "nothing_to_do"
    REJECTED = "rejected"
    CANCELLED = "cancelled"

    @property
    def is_open(self) -> bool:
        """Whether the run is the one of its batch that is worked on."""
        return self in {RunState.RESOLVING, RunState.RUNNING}

    @property
    def has_ended(self) -> bool:
        """Whether nothing happens any more."""
        return self is not RunState.ACCEPTED and not self.is_open


class WaitReason(StrEnum):
    """What an accepted run waits for."""

    EARLIER_RUN_OPEN = "earlier_run_open"
    BATCH_NOT_READY = "batch_not_ready"
    RESOLUTION_UNAVAILABLE = "resolution_unavailable"


class RejectionReason(StrEnum):
    """Why a run was refused."""

    BATCH_NOT_READY = "batch_not_ready"
    UNKNOWN_PIPELINE = "unknown_pipeline"
    PREREQUISITE_MISSING = "prerequisite_missing"
    RESOLUTION_UNAVAILABLE = "resolution_unavailable"
    TOO_MANY_WAITING = "too_many_waiting"
    REQUEST_ID_REUSED = "request_id_reused"


class PhaseStatus(StrEnum):
    """Where a phase of a run stands, in the platform's words."""

    REQUESTED_BY_USER = "requested_by_user"
    PENDING_DEPENDENCIES = "pending_dependencies"
    DISPATCH_INITIATED = "dispatch_initiated"
    IN_PROGRESS = "in_progress"
    COMPLETED_SUCCESSFULLY = "completed_successfully"
    COMPLETED_WITH_PARTIAL_SUCCESS = "completed_with_partial_success"
    FAILED = "failed"
    SKIPPED_DUE_TO_DEPENDENCY_FAILURE = "skipped_due_to_dependency_failure"
    SKIPPED_BY_USER_CONFIG = "skipped_by_user_config"
    CANCELLED = "cancelled"

    @property
    def is_to_come(self) -> bool:
        """Whether the phase was not commanded yet."""
        return self in {PhaseStatus.REQUESTED_BY_USER, PhaseStatus.PENDING_DEPENDENCIES}

    @property
    def is_dispatched(self) -> bool:
        """Whether the phase was commanded, and its outcome is awaited."""
        return self in {PhaseStatus.DISPATCH_INITIATED, PhaseStatus.IN_PROGRESS}

    @property
    def is_completed(self) -> bool:
        """Whether the phase ended with success, whole or in part."""
        return self in {
            PhaseStatus.COMPLETED_SUCCESSFULLY,
            PhaseStatus.COMPLETED_WITH_PARTIAL_SUCCESS,
        }

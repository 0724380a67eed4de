"""What BCS decides about a phase, and why: closed sets, part of the HTTP contract."""

from enum import StrEnum


class Verdict(StrEnum):
    """What happens to a step."""

    RUN = "run"
    SKIP = "skip"


class Reason(StrEnum):
    """Why a step runs or is skipped; a closed set, part of the HTTP contract."""

    ALREADY_COMPLETED = "already_completed"
    NOT_STARTED = "not_started"
    INCOMPLETE = "incomplete"
    FAILED_ESSAYS = "failed_essays"
    OUTCOME_NOT_SUCCESSFUL = "outcome_not_successful"
    TOTAL_UNKNOWN = "total_unknown"
    PREREQUISITE_RUNS = "prerequisite_runs"
    REQUESTED = "requested"
    PREREQUISITE_NEWER = "prerequisite_newer"
    UNREADABLE_EVENT = "unreadable_event"
    STATE_UNKNOWN = "state_unknown"

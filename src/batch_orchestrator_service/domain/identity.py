"""Ids that follow from what they name: whoever dies and begins again gives the same. Pure."""

from uuid import NAMESPACE_URL, UUID, uuid5

_NAMESPACE = uuid5(NAMESPACE_URL, "batch-orchestrator-service")


def _id(kind: str, *parts: object) -> UUID:
    # Each part with its length, so that no two lists of parts read the same.
    return uuid5(_NAMESPACE, kind + "".join(f"/{len(str(part))}:{part}" for part in parts))


def run_id(request_id: UUID, user_id: str) -> UUID:
    """Return the id of the run that a request makes; of a stranger's with the same id, another."""
    return _id("run", request_id, user_id)


def refused_run_id(request_id: UUID, fingerprint: str) -> UUID:
    """Return the id of the refusal of a request whose id another request has."""
    return _id("refused", request_id, fingerprint)


def request_id(correlation_id: UUID, batch_id: str, pipeline: str, user_id: str) -> UUID:
    """Return the id of a request that was sent without one."""
    return _id("request", correlation_id, batch_id, pipeline, user_id)


def correlation_id(run: UUID) -> UUID:
    """Return the correlation id of a run whose client's one another run of the batch has."""
    return _id("correlation", run)


def command_id(run: UUID, phase: str) -> UUID:
    """Return the id of the command of a phase."""
    return _id("command", run, phase)


def completion_id(run: UUID) -> UUID:
    """Return the id of the event that tells of a run's end."""
    return _id("completion", run)

"""Every Redis key, with what it holds and how long it lives.

All keys of a batch live for the same time and are renewed together, save the essay documents: of
those only the ones that a write touches are renewed, and the index of a batch tells when one is
missing. Ids have been checked by `domain.identifiers` before they come here.
"""

from batch_conductor_service.models import BatchId, EssayId

# The updates that Postgres has not yet; a stream with one consumer group. No TTL: an entry leaves
# when Postgres holds it, and the consumer pauses before the stream outgrows its bound.
PERSISTENCE_QUEUE = "bcs:persistence:queue"
PERSISTENCE_GROUP = "bcs:persistence:workers"

# Hash batch id -> entries of the batch that the queue holds. No TTL: a field leaves with the last.
# One field more counts them all: where that is not the queue's length, the counts are not to be
# believed, until they are made anew.
PERSISTENCE_WAITING = "bcs:persistence:waiting"
WAITING_OF_ALL = "*"

# A random name given when the queue was made. No TTL: when it is gone, so is what the queue held.
PERSISTENCE_EPOCH = "bcs:persistence:epoch"

# Hash `topic:partition` -> offset to read again from, for running consumers; one hour.
REPLAY_REQUEST = "bcs:replay"

# Hash `topic:partition` -> JSON of up to when it is applied; one hour, renewed with every write.
FRESHNESS = "bcs:freshness"


def essay_state(batch_id: BatchId, essay_id: EssayId) -> str:
    """JSON document of one essay; seven days, renewed when written."""
    return f"{essay_state_prefix(batch_id)}{essay_id}"


def essay_state_prefix(batch_id: BatchId) -> str:
    """What the keys of a batch's essay documents begin with."""
    return f"bcs:essay_state:{batch_id}:"


def pipeline_state(batch_id: BatchId) -> str:
    """Hash step -> completed_count; seven days, renewed with the batch."""
    return f"batch:{batch_id}:pipeline_state"


def batch_summary(batch_id: BatchId) -> str:
    """Hash of all else that a summary needs; seven days, renewed with the batch."""
    return f"bcs:batch:{batch_id}:summary"


def batch_index(batch_id: BatchId) -> str:
    """Set of the essays that have a document; seven days, renewed with the batch."""
    return f"bcs:batch:{batch_id}:essays"


def batch_expected(batch_id: BatchId) -> str:
    """Set of the essays that the latest registration names; seven days, renewed with the batch."""
    return f"bcs:batch:{batch_id}:expected"


def batch_outcomes(batch_id: BatchId) -> str:
    """Hash `step fingerprint` -> JSON of an outcome; seven days, renewed with the batch."""
    return f"bcs:batch:{batch_id}:outcomes"


def batch_registrations(batch_id: BatchId) -> str:
    """Hash fingerprint -> JSON of a registration; seven days, renewed with the batch."""
    return f"bcs:batch:{batch_id}:registrations"


def batch_keys(batch_id: BatchId) -> list[str]:
    """The keys of a batch that are renewed together, in the order of the Lua script."""
    return [
        batch_summary(batch_id),
        pipeline_state(batch_id),
        batch_index(batch_id),
        batch_expected(batch_id),
        batch_outcomes(batch_id),
        batch_registrations(batch_id),
    ]

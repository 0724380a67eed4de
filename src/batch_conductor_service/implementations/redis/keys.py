"""Every Redis key, with what it holds and how long it is kept.

Ids have been checked by `common_core.fields` before they come here.
"""

from typing import Literal, get_args

from batch_conductor_service.models import BatchId, EssayId
from common_core.records import Partition
from service_libs.redis.refusals import RedisNames

# The updates that Postgres has not yet; a stream with one consumer group. No TTL: an entry leaves
# when Postgres holds it, and the consumer pauses before the stream outgrows its bound.
PERSISTENCE_QUEUE = "bcs:persistence:queue"
PERSISTENCE_GROUP = "bcs:persistence:workers"

# Hash batch id -> entries of the batch that the queue holds. No TTL: a field leaves with the last.
# One field more counts them all: where that is not the queue's length, entries were lost.
PERSISTENCE_WAITING = "bcs:persistence:waiting"
WAITING_OF_ALL = "*"

# How many bytes of payload the queue holds. No TTL, as above.
PERSISTENCE_BYTES = "bcs:persistence:bytes"

# A random name given when the queue was made. No TTL: when it is gone, so is what the queue held.
PERSISTENCE_EPOCH = "bcs:persistence:epoch"

NAMES = RedisNames(
    service="BCS",
    setting="BCS_REDIS_URL",
    key_patterns="~bcs:* and ~batch:*",
    # Hash: the name of the server's data, and for which process it was given. No TTL: it goes when
    # they do.
    server_run="bcs:server_run",
)

# Set of the batches that were written while Postgres was not in use, and that it may lack. No TTL:
# a batch leaves when it was queued for Postgres.
UNARCHIVED = "bcs:unarchived"

# Hash `topic:partition` -> offset to read again from, for running consumers; one hour.
REPLAY_REQUEST = "bcs:replay"

# Hash `topic:partition` -> JSON of up to when it is applied; one hour, renewed with every write.
FRESHNESS = "bcs:freshness"

EarlierPart = Literal["essays", "expected", "outcomes", "registrations"]
EARLIER_PARTS: tuple[EarlierPart, ...] = get_args(EarlierPart)


def batch(batch_id: BatchId) -> str:
    """The truth of a batch: its summary, and a field for each essay, outcome and registration.

    Seven days, renewed when written; that of a batch nobody has heard of, a minute.
    """
    return f"bcs:batch:{batch_id}"


def lane(batch_id: BatchId) -> str:
    """Lock of the writer to which others of the batch give way; a few seconds."""
    return f"bcs:lane:{batch_id}"


def essay_state(batch_id: BatchId, essay_id: EssayId) -> str:
    """JSON document of one essay, for others to read; seven days, renewed when written."""
    return f"{essay_state_prefix(batch_id)}{essay_id}"


def essay_state_prefix(batch_id: BatchId) -> str:
    """What the keys of a batch's essay documents begin with."""
    return f"bcs:essay_state:{batch_id}:"


def pipeline_state(batch_id: BatchId) -> str:
    """Hash step -> completed_count, for others to read; seven days, renewed with the batch."""
    return f"batch:{batch_id}:pipeline_state"


def earlier_summary(batch_id: BatchId) -> str:
    """What earlier versions keep of a batch, and write whenever they write of it at all.

    Where it is there, one of them has written since the batch was imported.
    """
    return f"bcs:batch:{batch_id}:summary"


def earlier(batch_id: BatchId, part: EarlierPart) -> str:
    """The rest of what earlier versions keep.

    Sets of the essays that have a document, and of those that are expected, by the registration
    in force; hashes of outcomes and registrations.
    """
    return f"bcs:batch:{batch_id}:{part}"


def partition_field(partition: Partition) -> str:
    """The field of a partition, in the hashes that have one for each."""
    topic, number = partition
    return f"{topic}:{number}"


def partition_of(field: str) -> Partition:
    """The partition that a field is of.

    Raises:
        ValueError: it is of none.
    """
    topic, _, number = field.rpartition(":")
    return topic, int(number)

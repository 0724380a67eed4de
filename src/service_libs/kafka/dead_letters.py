"""From a record that cannot be applied to its dead letter. Pure."""

from service_libs.exceptions import InvalidMessageError, ServiceError
from service_libs.kafka.records import DeadLetter, Record


def to_dead_letter(record: Record, error: ServiceError, group_id: str) -> DeadLetter:
    """Return the record as it was, with where it was read and why it was refused."""
    return DeadLetter(
        base_topic=record.topic,
        reason=reason_of(error),
        error_type=type(error).__name__,
        error_message=str(error),
        payload=record.value,
        key=record.key,
        headers=tuple(record.headers),
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        consumer_group=group_id,
    )


def reason_of(error: ServiceError) -> str:
    """Return the reason of a closed set for which a record cannot be applied."""
    return error.reason if isinstance(error, InvalidMessageError) else error.code

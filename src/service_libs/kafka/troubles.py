"""What goes wrong with Kafka, in words for people. Pure; never quotes a driver's message."""

from aiokafka.errors import (
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    KafkaConnectionError,
    TopicAuthorizationFailedError,
)

_TEXTS: dict[type[BaseException], str] = {
    InconsistentGroupProtocolError: (
        "The consumer group '{group}' has a member that shares the partitions out in another way,"
        " so this one cannot join: every member needs the same assignor."
    ),
    GroupAuthorizationFailedError: (
        "No right to join the consumer group '{group}': the broker's user needs READ on it."
    ),
    InvalidGroupIdError: "The broker refuses the name of the consumer group '{group}'.",
    InvalidSessionTimeoutError: (
        "The broker refuses the session time-out of the consumer group '{group}'."
    ),
    KafkaConnectionError: "No Kafka broker can be reached.",
    TimeoutError: "Kafka does not answer in time.",
    ConsumerStoppedError: "The connection to Kafka has ended.",
}


def describe_trouble(error: BaseException, group_id: str) -> str:
    """Return the trouble behind the error, or behind what it was raised from."""
    cause = error.__cause__ or error
    if isinstance(cause, TopicAuthorizationFailedError):
        # aiokafka gives a name as the error's argument, or a set of names.
        named = [n for arg in cause.args for n in ([arg] if isinstance(arg, str) else arg)]
        topics = ", ".join(sorted(named)) or "a topic"
        return f"No right to read {topics}: the broker's user needs READ on it."
    for kind in type(cause).__mro__:
        if text := _TEXTS.get(kind):
            return text.format(group=group_id)
    return f"Kafka cannot be read ({type(cause).__name__})."

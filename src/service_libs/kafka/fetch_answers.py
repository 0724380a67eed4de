"""What the broker answered to each fetch of a consumer, and when it was asked.

aiokafka tells when an answer was *received* (`last_poll_timestamp`), which proves nothing after the
process was stopped or held up: the answer may be as old as that. Nor does it tell an empty answer
from records that it holds back. So the requests are watched on their way.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.protocol.fetch import FetchRequest

from service_libs.kafka.reading_progress import FetchAnswer
from service_libs.protocols import ClockProtocol


def watch_fetches(
    consumer: AIOKafkaConsumer, clock: ClockProtocol, note: Callable[[FetchAnswer], None]
) -> None:
    """Have every answer noted that the consumer takes: of its own partitions, where it stands."""
    send = consumer._client.send  # noqa: SLF001 - aiokafka has no public way

    async def watched(node_id: int, request: Any, **options: Any) -> Any:  # noqa: ANN401 - passed on
        asked_at = clock.now()
        response = await send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            for answer in _answers(request, response, asked_at):
                if _position(consumer, TopicPartition(*answer.partition)) == answer.offset:
                    note(answer)
        return response

    consumer._client.send = watched  # noqa: SLF001 - aiokafka has no public way


def _answers(request: Any, response: Any, asked_at: datetime) -> Iterator[FetchAnswer]:  # noqa: ANN401 - untyped
    offsets = {
        (topic, number): offset
        for topic, partitions in request.topics
        for number, offset, _ in partitions
    }
    for topic, partitions in response.topics:
        for number, error_code, end, *rest in partitions:
            if error_code == 0:
                yield FetchAnswer(
                    partition=(topic, number),
                    asked_at=asked_at,
                    offset=offsets[topic, number],
                    end=end,
                    is_empty=not rest[-1],
                )


def _position(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int | None:
    """Return where the consumer stands; an answer for elsewhere it throws away, too."""
    subscription = consumer._subscription.subscription  # noqa: SLF001 - `position` may wait
    assignment = subscription.assignment if subscription else None
    state = assignment.state_value(partition) if assignment and assignment.active else None
    return state.position if state and state.has_valid_position else None

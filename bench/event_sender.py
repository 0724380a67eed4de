"""The process that sends a stream of events: which, it reads; where they are, it says."""

import asyncio
import pickle
import sys
import time

from aiokafka import AIOKafkaProducer, TopicPartition

from bench.event_stream import Sent, Stream
from bench.parent import answer_parent


async def send_all(kafka: str, stream: Stream) -> Sent:
    """Send the events, and return when the broker has them all."""
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, acks="all", linger_ms=5, max_batch_size=256 * 1024
    )
    await producer.start()
    began_at, places = 0.0, dict[TopicPartition, list[int]]()
    try:
        for events in stream.windows():
            began_at = began_at or time.monotonic()
            sending = [await producer.send(e.topic, e.value, key=e.key) for e in events]
            for sent in sending:
                place = await sent
                partition = TopicPartition(place.topic, place.partition)
                places.setdefault(partition, []).append(place.offset)
    finally:
        await producer.stop()
    return Sent(
        began_at=began_at,
        firsts={partition: min(offsets) for partition, offsets in places.items()},
        ends={partition: max(offsets) + 1 for partition, offsets in places.items()},
    )


if __name__ == "__main__":
    asked = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
    answer_parent(asyncio.run(send_all(*asked)))

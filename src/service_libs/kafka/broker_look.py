"""The broker, seen by clients that never join the group."""

import asyncio
from collections.abc import Awaitable, Collection, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    KafkaError,
    NoError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from common_core.records import Partition, PartitionLag, TopicLook
from service_libs.exceptions import BrokerUnavailableError
from service_libs.kafka.aiokafka_gaps import client_of
from service_libs.protocols import ClockProtocol

PEEK_SECONDS = 1.5  # for the records that are looked at for their time
PEEK_BYTES = 1024  # a fetch brings a first batch whole, however large it is
CLOSE_SECONDS = 1
WATCH_TIMEOUT_SECONDS = 3  # for one question, so that what is known is not much older

T = TypeVar("T")


class KafkaBrokerLook:
    """`BrokerLookProtocol`; one connection for questions, and one for a glance at records.

    After a failure the connection is made again.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        group_id: str,
        clock: ClockProtocol,
        *,
        timeout_seconds: float,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._group_id = group_id
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._consumer: AIOKafkaConsumer | None = None
        self._peeker: AIOKafkaConsumer | None = None
        self._times: dict[tuple[Partition, int], datetime] = {}

    async def look_at_topics(self, topics: Sequence[str]) -> TopicLook:
        asked_at = self._clock.now()
        consumer = await self._connected()
        client = client_of(consumer)  # whatever is public creates the topics it asks for
        request = MetadataRequest(list(topics), allow_auto_topic_creation=False)
        node = client.get_random_node()
        if node is None:
            await self.close()
            raise BrokerUnavailableError
        response = await self._bounded(client.send(node, request))
        partitions: set[Partition] = set()
        missing: set[str] = set()
        refused: dict[str, str] = {}
        for error_code, topic, *_, described in response.topics:
            error = for_code(error_code)
            if error is NoError:
                partitions.update((topic, number) for _, number, *_ in described)
            elif error is UnknownTopicOrPartitionError:
                missing.add(topic)
            else:
                refused[topic] = _refusal(topic, error)
        return TopicLook(
            asked_at=asked_at,
            partitions=frozenset(partitions),
            missing=frozenset(missing),
            refused=refused,
        )

    async def measure_lag(self, partitions: Collection[Partition]) -> dict[Partition, PartitionLag]:
        consumer = await self._connected()
        spans = dict(
            zip(
                partitions,
                await asyncio.gather(
                    *(self._span(consumer, one) for one in partitions), return_exceptions=True
                ),
                strict=True,
            )
        )
        known = {p: span for p, span in spans.items() if not isinstance(span, BaseException)}
        if partitions and not known:
            await self.close()
            raise BrokerUnavailableError
        behind = {p: first for p, (first, end) in known.items() if end > first}
        times = await self._read_times(behind)
        return {
            p: PartitionLag(records=max(0, end - first), oldest_at=times.get(p))
            for p, (first, end) in known.items()
        }

    async def close(self) -> None:
        """Close the connections."""
        opened = [one for one in (self._consumer, self._peeker) if one is not None]
        self._consumer = self._peeker = None
        await asyncio.gather(*map(_stop, opened))

    async def _span(self, consumer: AIOKafkaConsumer, partition: Partition) -> tuple[int, int]:
        """Return the first offset that the group has not committed, and that of the end."""
        tp = TopicPartition(*partition)
        async with asyncio.timeout(self._timeout_seconds):
            committed = await consumer.committed(tp)
            ends = await consumer.end_offsets([tp])
            if committed is None:
                committed = (await consumer.beginning_offsets([tp]))[tp]
            return committed, ends[tp]

    async def _read_times(self, firsts: dict[Partition, int]) -> dict[Partition, datetime]:
        """Return when the records were made that are the first from these offsets on."""
        places = set(firsts.items())
        self._times = {place: at for place, at in self._times.items() if place in places}
        new = {p: first for p, first in firsts.items() if (p, first) not in self._times}
        if new:
            try:
                await self._peek(new)
            except (KafkaError, OSError, TimeoutError):  # then their times are not known
                await self._drop_peeker()
        return {p: self._times[p, f] for p, f in firsts.items() if (p, f) in self._times}

    async def _peek(self, firsts: dict[Partition, int]) -> None:
        async with asyncio.timeout(PEEK_SECONDS + self._timeout_seconds):
            peeker = await self._peeking()
            peeker.assign([TopicPartition(*partition) for partition in firsts])
            try:
                for partition, first in firsts.items():
                    peeker.seek(TopicPartition(*partition), first)
                waiting = dict(firsts)
                deadline = asyncio.get_running_loop().time() + PEEK_SECONDS
                while waiting and (left := deadline - asyncio.get_running_loop().time()) > 0:
                    for tp, records in (await peeker.getmany(timeout_ms=int(left * 1000))).items():
                        place = (tp.topic, tp.partition)
                        if place in waiting and records[0].timestamp > 0:
                            at = datetime.fromtimestamp(records[0].timestamp / 1000, UTC)
                            self._times[place, waiting[place]] = at
                        waiting.pop(place, None)
            finally:
                peeker.unsubscribe()

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            # It asks for the group's offsets, and joins nothing.
            self._consumer = await self._start(group_id=self._group_id, enable_auto_commit=False)
        return self._consumer

    async def _peeking(self) -> AIOKafkaConsumer:
        if self._peeker is None:
            self._peeker = await self._start(
                group_id=None,
                isolation_level="read_committed",
                max_partition_fetch_bytes=PEEK_BYTES,
            )
        return self._peeker

    async def _drop_peeker(self) -> None:
        peeker, self._peeker = self._peeker, None
        if peeker is not None:
            await _stop(peeker)

    async def _start(self, **options: object) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            request_timeout_ms=int(self._timeout_seconds * 1000),
            **options,
        )
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await consumer.start()
        except (TimeoutError, KafkaError, OSError) as exc:
            await _stop(consumer)
            raise BrokerUnavailableError from exc
        except asyncio.CancelledError:
            await _stop(consumer)
            raise
        return consumer

    async def _bounded(self, asked: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await asked
        except (TimeoutError, KafkaError, OSError) as exc:
            await self.close()
            raise BrokerUnavailableError from exc


async def _stop(consumer: AIOKafkaConsumer) -> None:
    """Close it within a second: it may hang with the broker away."""
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait({stopping}, timeout=CLOSE_SECONDS)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)


def _refusal(topic: str, error: type[KafkaError]) -> str:
    if error is TopicAuthorizationFailedError:
        return f"No right to see the topic {topic}: the broker's user needs DESCRIBE on it."
    return f"The broker does not tell the partitions of the topic {topic} ({error.__name__})."

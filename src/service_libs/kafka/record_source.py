"""One membership in the consumer group: aiokafka with every wait bounded and errors translated."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    CorruptRecordException,
    IllegalStateError,
    KafkaError,
    UnsupportedCodecError,
)

from common_core.records import Partition
from service_libs.exceptions import BrokerUnavailableError
from service_libs.failpoints import failpoint
from service_libs.kafka.aiokafka_gaps import (
    client_of,
    close_in_order,
    close_in_parts,
    collect,
    commit_as_member_only,
    watch_fetches,
)
from service_libs.kafka.patience import UnreadablePollError
from service_libs.kafka.policy import SourcePolicy
from service_libs.kafka.predecessors import Predecessors
from service_libs.kafka.reading_progress import FetchAnswer, ReadingProgress
from service_libs.kafka.records import PartitionsLostError, Poll
from service_libs.kafka.troubles import describe_trouble
from service_libs.protocols import ClockProtocol, OnRevoked

# Of what is fetched ahead, as it comes over the wire; a larger record comes all the same.
MAX_FETCH_BYTES = 8 * 1024 * 1024
MAX_PARTITION_FETCH_BYTES = 1024 * 1024

logger = structlog.get_logger(__name__)

Answer = TypeVar("Answer")


class KafkaRecordSource(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """A consumer in its group; bytes in, no deserialiser, no automatic commit.

    What an aborted transaction left is never handed out, nor is what an open one has so far.

    `on_revoked` is awaited before partitions are given away; the whole group waits for it.
    `assignment` counts what was given away: records polled under an older one are stale, for they
    may be another member's by now. `committed` has what was committed since. `progress` is kept
    current: what is handed out is in hand until whoever has applied it says so there.
    """

    def __init__(
        self,
        policy: SourcePolicy,
        topics: Sequence[str],
        on_revoked: OnRevoked,
        clock: ClockProtocol,
    ) -> None:
        self.assignment = 0
        self.committed: dict[Partition, int] = {}
        self.progress = ReadingProgress()
        self._policy = policy
        self._topics = topics
        self._on_revoked = on_revoked
        self._clock = clock
        self.is_rebalancing = True
        self._consumer = _make_consumer(policy)

    async def open(self) -> None:
        """Connect and ask to join the group; who was here before must leave it.

        The topics are subscribed to only now: `start` would wait until every one of them exists.

        Raises:
            BrokerUnavailableError: no broker answers.
        """
        await self._bounded(self._consumer.start())
        commit_as_member_only(self._consumer)
        watch_fetches(self._consumer, self._clock, self._note_answer)
        policy, client = self._policy, client_of(self._consumer)
        predecessors = Predecessors(client, policy.group_id, policy.member_client_id)
        if policy.seat is not None:
            await predecessors.find()
        self._consumer.subscribe(topics=list(self._topics), listener=self)
        await predecessors.dismiss()

    async def close(self) -> bool:
        """Leave the group; return whether that was possible, which is bounded in time."""
        # A revocation may still be draining, and the goodbye may have to time out.
        bound = self._policy.drain_timeout_seconds + self._policy.request_timeout_seconds
        return await close_in_order(self._consumer, bound)

    async def abandon(self) -> None:
        """Close without a word to the broker, which will notice by the session's time-out."""
        await close_in_parts(self._consumer)

    async def poll(self) -> Poll:
        """Return the next records, or none after the commit interval.

        Raises:
            UnreadablePollError: what was fetched is not what it should be; what the same poll had
                of other partitions is lost, so this source is of no more use.
            BrokerUnavailableError: the group or a partition cannot be read.
        """
        try:
            records = await collect(
                self._consumer,
                timeout_ms=_milliseconds(self._policy.commit_interval_seconds),
                max_records=self._policy.max_poll_records,
            )
        except (UnsupportedCodecError, CorruptRecordException) as exc:
            raise await self._unreadable(exc) from exc
        except (KafkaError, ConsumerStoppedError) as exc:
            raise BrokerUnavailableError(self._describe(exc)) from exc
        except Exception as exc:  # each codec raises its own errors, and so does a bad header
            raise await self._unreadable(exc) from exc
        # aiokafka drains its buffer and returns without giving up control in between, so here the
        # count is still that of the assignment the records came under, and nothing was fetched
        # after them yet.
        self.progress.take_in_hand(((one.topic, one.partition), one.offset) for one in records)
        return Poll(records, self.assignment)

    async def commit(self, points: Mapping[Partition, int]) -> None:
        """Commit the offsets.

        Raises:
            PartitionsLostError: a rebalance is under way, or has taken the partitions.
            BrokerUnavailableError: not acknowledged in time; may be tried again.
        """
        offsets = {TopicPartition(*partition): offset for partition, offset in points.items()}
        failpoint("offsets.uncommitted")
        await self._bounded(self._consumer.commit(offsets))
        self.committed.update(points)
        failpoint("offsets.committed")

    def rewind(self, points: Mapping[Partition, int]) -> None:
        """Read these partitions again from these offsets; one no longer assigned is left alone."""
        assigned = self._consumer.assignment()
        mine = {one: offset for one, offset in points.items() if one in assigned}
        for partition, offset in mine.items():
            self._consumer.seek(TopicPartition(*partition), offset)
        self.progress.rewind(mine)

    @property
    def has_partitions(self) -> bool:
        """Whether any partition is this member's; a group may have more members than those."""
        return bool(self._consumer.assignment())

    def is_assigned(self, partition: Partition) -> bool:
        """Whether the partition is this member's."""
        return partition in self._consumer.assignment()

    async def get_committed(self, partition: Partition) -> int | None:
        """Return the committed offset, asked of the broker; None where nothing is committed.

        Raises:
            BrokerUnavailableError: the broker does not say.
        """
        committed: int | None = await self._bounded(
            self._consumer.committed(TopicPartition(*partition))
        )
        return committed

    async def find_deleted(self, *, unread: bool = False) -> dict[Partition, range]:
        """Return the offsets that are not committed, or not read, and that the log has no more.

        Raises:
            PartitionsLostError: a rebalance came in between.
            BrokerUnavailableError: the broker does not say.
        """
        reached = self._consumer.position if unread else self._consumer.committed
        assigned = self._consumer.assignment()
        firsts = await self._bounded(self._consumer.beginning_offsets(assigned)) if assigned else {}
        offsets = {tp: await self._bounded(reached(tp)) for tp in firsts}
        return {
            (tp.topic, tp.partition): range(offsets[tp], first)
            for tp, first in firsts.items()
            if offsets[tp] is not None and offsets[tp] < first
        }

    @property
    def is_paused(self) -> bool:
        """Whether any partition is paused; a rebalance ends it."""
        return bool(self._consumer.paused())

    def pause(self) -> None:
        """Fetch nothing more; `poll` goes on, which keeps the membership."""
        self._consumer.pause(*self._consumer.assignment())

    def resume(self) -> None:
        """Fetch again."""
        self._consumer.resume(*self._consumer.paused())

    async def is_stuck(self) -> bool:
        """Whether there is something to read, asked of the broker; for when nothing is read.

        Raises:
            PartitionsLostError: a rebalance came in between.
            BrokerUnavailableError: the broker does not say.
        """
        if self.is_rebalancing:
            return True
        assigned = self._consumer.assignment()
        if not assigned:
            return False
        ends = await self._bounded(self._consumer.end_offsets(assigned))
        return any((await self._count_unread(ends)).values())

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Have what is in hand finished and drained, then make the rest stale. By aiokafka."""
        self.is_rebalancing = True
        try:
            if revoked:
                await self._on_revoked(self)
        finally:
            self.assignment += 1
            self.committed.clear()
            self.progress.clear()

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Note that there is an assignment, perhaps of nothing. Called by aiokafka."""
        self.is_rebalancing = False
        logger.info("partitions_assigned", partitions=len(assigned))

    def _note_answer(self, answer: FetchAnswer) -> None:
        # While partitions are given away the fetcher goes on where records that are in hand, and
        # may be abandoned, end.
        if not self.is_rebalancing:
            self.progress.note_answer(answer)

    async def _unreadable(self, error: Exception) -> UnreadablePollError:
        ends = {tp: self._consumer.highwater(tp) for tp in self._consumer.assignment()}
        known = {tp: end for tp, end in ends.items() if end is not None}
        unread = [
            partition for partition, count in (await self._count_unread(known)).items() if count
        ]
        offsets = {
            p: await self._bounded(self._consumer.position(TopicPartition(*p))) for p in unread
        }
        return UnreadablePollError(offsets, is_final=isinstance(error, UnsupportedCodecError))

    async def _count_unread(self, ends: Mapping[TopicPartition, int]) -> dict[Partition, int]:
        # Where the end is known something was fetched, so the position is known without waiting.
        positions = {tp: await self._bounded(self._consumer.position(tp)) for tp in ends}
        return {(tp.topic, tp.partition): max(0, end - positions[tp]) for tp, end in ends.items()}

    def _describe(self, error: BaseException) -> str:
        return describe_trouble(error, self._policy.group_id)

    async def _bounded(self, awaitable: Awaitable[Answer]) -> Answer:
        # aiokafka repeats what is retriable for ever, and waits for a coordinator as long.
        try:
            async with asyncio.timeout(self._policy.request_timeout_seconds):
                return await awaitable
        except (CommitFailedError, IllegalStateError) as exc:
            raise PartitionsLostError from exc
        except (TimeoutError, KafkaError, ConsumerStoppedError) as exc:
            raise BrokerUnavailableError(self._describe(exc)) from exc


def _make_consumer(policy: SourcePolicy) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=policy.bootstrap_servers,
        group_id=policy.group_id,
        client_id=policy.member_client_id,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_wait_ms=_milliseconds(policy.fetch_wait_seconds),
        max_poll_records=policy.max_poll_records,
        fetch_max_bytes=MAX_FETCH_BYTES,
        max_partition_fetch_bytes=MAX_PARTITION_FETCH_BYTES,
        # The broker answers a join only when all members have joined, so one request may last as
        # long as a rebalance.
        request_timeout_ms=_milliseconds(
            policy.rebalance_timeout_seconds + policy.request_timeout_seconds
        ),
        session_timeout_ms=_milliseconds(policy.session_timeout_seconds),
        heartbeat_interval_ms=_milliseconds(policy.heartbeat_seconds),
        rebalance_timeout_ms=_milliseconds(policy.rebalance_timeout_seconds),
        metadata_max_age_ms=_milliseconds(policy.metadata_max_age_seconds),
    )


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)

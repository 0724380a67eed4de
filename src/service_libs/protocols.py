"""The ports that every service has."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from common_core.records import Partition, PartitionLag, TopicLook
from service_libs.kafka.reading_progress import ReadingProgress
from service_libs.kafka.records import DeadLetter, GroupPosition, Poll, ReplayRequest


class BackgroundTaskProtocol(Protocol):
    """Something that runs as long as the service."""

    name: str

    async def run(self) -> None:
        """Run until `stop` is called; whatever it raises, the supervisor starts it again."""
        ...

    def stop(self) -> None:
        """Ask `run` to finish what it has in hand and return. May be called at any time, often."""
        ...


class HealthProbeProtocol(Protocol):
    """A dependency that can be asked whether it answers."""

    name: str

    async def ping(self) -> None:
        """Return if the dependency answers."""
        ...


class ClockProtocol(Protocol):
    """The time of day."""

    def now(self) -> datetime:
        """Return the time, aware, UTC."""
        ...


class ProgressProtocol(Protocol):
    """Something that may run, with all its dependencies up, and yet not get on."""

    name: str

    async def refresh(self) -> None:
        """Learn how it is; may raise `TransientError`, and then what was known holds."""
        ...

    @property
    def causes(self) -> Sequence[str]:
        """Why it has not got on for too long, in sentences for people; empty when it gets on."""
        ...

    def describe(self) -> Mapping[str, str | float | None]:
        """Return what is known of it."""
        ...


class RecordSourceProtocol(Protocol):
    """One membership in a consumer group, from joining to leaving; none is used again.

    `assignment` counts what was given away: records polled under an older one are stale, for they
    may be another member's by now. `committed` has what was committed since. `progress` is kept
    current: what is handed out is in hand until whoever has applied it says so there. Before
    partitions are given away whoever made the source is called, and the whole group waits for that.

    Every method may raise `BrokerUnavailableError`, and `PartitionsLostError` when a rebalance
    came in between.
    """

    @property
    def assignment(self) -> int: ...
    @property
    def committed(self) -> Mapping[Partition, int]: ...
    @property
    def progress(self) -> ReadingProgress: ...
    @property
    def is_rebalancing(self) -> bool:
        """Whether it is not settled which partitions are this member's."""
        ...

    @property
    def has_partitions(self) -> bool:
        """Whether any partition is this member's; a group may have more members than those."""
        ...

    @property
    def is_paused(self) -> bool:
        """Whether any partition is paused; a rebalance ends it."""
        ...

    async def open(self) -> None:
        """Connect and ask to join the group."""
        ...

    async def close(self) -> bool:
        """Leave the group; return whether that was possible, which is bounded in time."""
        ...

    async def abandon(self) -> None:
        """Close without a word to the broker, which will notice by the session's time-out."""
        ...

    async def poll(self) -> Poll:
        """Return the next records, or none after the commit interval.

        Raises:
            UnreadablePollError: what was read is not what it should be; what the same poll had of
                other partitions is lost, so this source is of no more use.
        """
        ...

    async def commit(self, points: Mapping[Partition, int]) -> None:
        """Commit the offsets; what was not acknowledged in time may be tried again."""
        ...

    def rewind(self, points: Mapping[Partition, int]) -> None:
        """Read these partitions again from these offsets; one no longer assigned is left alone."""
        ...

    def is_assigned(self, partition: Partition) -> bool:
        """Whether the partition is this member's."""
        ...

    async def get_committed(self, partition: Partition) -> int | None:
        """Return the committed offset as the group has it; None where nothing is committed."""
        ...

    async def find_deleted(self, *, unread: bool = False) -> Mapping[Partition, range]:
        """Return the offsets that are not committed, or not read, and that the log has no more."""
        ...

    def pause(self) -> None:
        """Read nothing more; `poll` goes on, which keeps the membership."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...

    async def is_stuck(self) -> bool:
        """Whether there is something to read; for when nothing is read."""
        ...


class BrokerLookProtocol(Protocol):
    """The broker as it is seen without being a member of the group: whatever becomes of that."""

    async def look_at_topics(self, topics: Sequence[str]) -> TopicLook:
        """Return which of the topics exist, with their partitions. Creates none."""
        ...

    async def measure_lag(
        self, partitions: Collection[Partition]
    ) -> Mapping[Partition, PartitionLag]:
        """Return how far the group is behind, for each partition that the broker answers for."""
        ...


class ConsumerGroupProtocol(Protocol):
    """The consumer group, seen from outside."""

    async def list_partitions(self, topics: Sequence[str]) -> Sequence[Partition]:
        """Return the partitions of those of the topics that exist."""
        ...

    async def read_positions(
        self, partitions: Sequence[Partition]
    ) -> Mapping[Partition, GroupPosition]:
        """Return where the group is in each."""
        ...

    async def find_offsets(
        self, partitions: Sequence[Partition], since: datetime
    ) -> Mapping[Partition, int]:
        """Return the first offset not older than that, for each partition that has one."""
        ...

    async def move(self, offsets: Mapping[Partition, int]) -> bool:
        """Commit the offsets; return False, and change nothing, if the group has members."""
        ...


class ReplayRequestsProtocol(Protocol):
    """Where running consumers find what is asked of them."""

    async def submit(self, offsets: Mapping[Partition, int]) -> str:
        """Ask; return the request's id. What an earlier request still waits for is kept."""
        ...

    async def find(self) -> ReplayRequest | None:
        """Return the request there is."""
        ...

    async def settle(self, request_id: str, partitions: Sequence[Partition]) -> None:
        """Say that these partitions of the request need nothing more."""
        ...


class DlqProducerProtocol(Protocol):
    """Where dead letters go."""

    async def publish(self, letter: DeadLetter) -> None:
        """Publish and await the acknowledgement.

        Raises:
            BrokerUnavailableError: not acknowledged in time; the letter may yet arrive.
        """
        ...


# Awaited before the source gives its partitions away; the whole group waits for it.
OnRevoked = Callable[[RecordSourceProtocol], Awaitable[None]]
# Makes a source that has not joined yet.
Connect = Callable[[OnRevoked], RecordSourceProtocol]

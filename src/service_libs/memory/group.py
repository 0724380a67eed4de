"""A consumer group in memory: who is in it, and who reads what."""

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from common_core.records import Partition
from service_libs.kafka.policy import SourcePolicy


class Member(Protocol):
    """One who reads a share of the partitions."""

    policy: SourcePolicy
    topics: Sequence[str]
    is_closed: bool

    async def give_up(self) -> None:
        """Finish with the partitions that it has, and have none."""
        ...

    def take(self, partitions: Collection[Partition]) -> None:
        """Read these from now on."""
        ...


class Broker(Protocol):
    """What a group needs of its broker."""

    speaks: asyncio.Event

    @property
    def logs(self) -> Mapping[Partition, object]:
        """What is shared out."""
        ...


class MemoryGroup:
    """Shares the partitions out among its members whenever one comes or goes.

    All members give up what they have before any is given its new share. Who takes longer than the
    rebalance may take is put out, and joins again when it is done.
    """

    def __init__(self, broker: Broker) -> None:
        self.committed: dict[Partition, int] = {}
        self.members: list[Member] = []
        self._broker = broker
        self._is_due = False
        self._expiring: dict[Member, asyncio.Task[None]] = {}
        self._rebalancing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, member: Member) -> None:
        """Take the member in; who was at its seat before it must leave."""
        seat = member.policy.seat
        for predecessor in [one for one in self.members if seat and one.policy.seat == seat]:
            self._dismiss(predecessor)
        self.members.append(member)
        self.rebalance()

    def leave(self, member: Member) -> None:
        """Share what the member had out among the others."""
        if member in self.members:
            self.members.remove(member)
            self.rebalance()

    def expire(self, member: Member) -> None:
        """Have the member leave when its session has timed out."""

        async def expire() -> None:
            await asyncio.sleep(member.policy.session_timeout_seconds)
            self.leave(member)

        if member in self.members:
            self._expiring[member] = self._spawn(expire())

    def expel(self, member: Member) -> None:
        """Take its partitions by force, as from one that was not heard of for too long.

        It notices with its next heartbeat; until then it goes on, and its commits are refused.
        """

        async def notice() -> None:
            await asyncio.sleep(member.policy.heartbeat_seconds)
            await self._return(member, self._spawn(member.give_up()))

        self.leave(member)
        _ = self._spawn(notice())

    def rebalance(self) -> None:
        """Share out again, as soon as the members have given up what they have."""
        self._is_due = True
        if self._rebalancing is None or self._rebalancing.done():
            self._rebalancing = self._spawn(self._rebalance())

    def _dismiss(self, member: Member) -> None:
        if not member.is_closed:
            self.expel(member)
            return
        self.leave(member)
        if expiring := self._expiring.pop(member, None):
            expiring.cancel()

    async def _rebalance(self) -> None:
        while self._is_due:
            self._is_due = False
            await self._take_back()
            if self._expiring:  # nothing is theirs no more before that
                await asyncio.wait(self._expiring.values())
            await self._broker.speaks.wait()
            if not self._is_due:
                self._share_out()

    async def _take_back(self) -> None:
        giving = {
            member: self._spawn(member.give_up()) for member in self.members if not member.is_closed
        }
        if not giving:
            return
        longest = max(member.policy.rebalance_timeout_seconds for member in giving)
        await asyncio.wait(giving.values(), timeout=longest)
        for member, task in giving.items():
            if not task.done() and member in self.members:
                self.members.remove(member)
                _ = self._spawn(self._return(member, task))

    async def _return(self, member: Member, giving_up: asyncio.Task[None]) -> None:
        await giving_up
        if not member.is_closed:
            self.join(member)

    def _share_out(self) -> None:
        shares: dict[Member, list[Partition]] = {member: [] for member in self.members}
        for number, partition in enumerate(sorted(self._broker.logs)):
            readers = [one for one in self.members if partition[0] in one.topics]
            if readers:
                shares[readers[number % len(readers)]].append(partition)
        for member, share in shares.items():
            member.take(share)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

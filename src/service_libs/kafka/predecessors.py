"""Members of the group that died where this process is now: dismissed, not waited for.

A killed process says no goodbye, so the broker misses it only when its session ends, and until then
nobody reads its partitions. Whoever starts at the same seat knows better: only one process can be
there at a time.

A live member that is dismissed by mistake, because two processes name the same seat, joins again at
its next heartbeat: that costs a rebalance, and neither loses nor skips a record.
"""

import asyncio
from collections.abc import Collection
from typing import NamedTuple

import structlog
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError, NoError, UnknownMemberIdError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest

FIND_SECONDS = 2  # to find them; a broker that starts may have to read its groups first
ARRIVAL_SECONDS = 3  # for the group to know us
LEAVE_SECONDS = 2
LOOK_SECONDS = 0.05

# The last says that the broker speaks no version of the request that the library does.
UNANSWERED = (TimeoutError, KafkaError, NotImplementedError)

logger = structlog.get_logger(__name__)


class Member(NamedTuple):
    """A member of a group, as the broker describes it."""

    member_id: str
    client_id: str
    host: str


class Predecessors:
    """Those of a group who were at this process's seat before it.

    Best effort and bounded in time: whom it cannot dismiss, the broker misses later.

    Args:
        client_id: names service and seat; nobody else's consumer has the same.
    """

    def __init__(self, client: AIOKafkaClient, group_id: str, client_id: str) -> None:
        self._client = client
        self._group_id = group_id
        self._client_id = client_id
        self._found: Collection[Member] = ()

    async def find(self) -> None:
        """Look who there is; to be awaited before this process asks to join."""
        try:
            async with asyncio.timeout(FIND_SECONDS):
                self._found = await self._list_patiently()
        except UNANSWERED as exc:
            logger.info("predecessors_not_known", error=type(exc).__name__)

    async def dismiss(self) -> None:
        """Have them leave; to be awaited when this process has asked to join.

        Not before the group knows it: one that becomes empty in between may wait for more members
        (`group.initial.rebalance.delay.ms`).
        """
        if not self._found:
            return
        try:
            async with asyncio.timeout(ARRIVAL_SECONDS):
                await self._wait_until_known()
        except UNANSWERED as exc:
            logger.info("arrival_not_seen", error=type(exc).__name__)
        for one in self._found:
            await self._dismiss(one)

    async def _wait_until_known(self) -> None:
        is_known = False
        while not is_known:
            await asyncio.sleep(LOOK_SECONDS)
            is_known = bool(set(await self._list()).difference(self._found))

    async def _dismiss(self, member: Member) -> None:
        log = logger.bind(**member._asdict())
        try:
            await leave_group(self._client, self._group_id, member.member_id)
        except UNANSWERED as exc:
            log.warning("predecessor_not_dismissed", error=type(exc).__name__)
        else:
            log.warning("predecessor_dismissed")

    async def _list_patiently(self) -> Collection[Member]:
        while True:
            try:
                return await self._list()
            except KafkaError as exc:
                if not exc.retriable:
                    raise
                await asyncio.sleep(LOOK_SECONDS)

    async def _list(self) -> Collection[Member]:
        """Return who is at this seat now, this process included once the group knows it."""
        node = await self._client.coordinator_lookup(CoordinationType.GROUP, self._group_id)
        response = await self._client.send(node, DescribeGroupsRequest([self._group_id]))
        [(error_code, _, _, _, _, members)] = response.groups
        error = for_code(error_code)
        if error is not NoError:
            raise error
        described = [Member(*member[:3]) for member in members]
        return [one for one in described if one.client_id == self._client_id]


async def leave_group(client: AIOKafkaClient, group_id: str, member_id: str) -> None:
    """Have a member leave its group; one that is not in it any more has left.

    Over a connection of its own, for the broker reads no further on one where a join waits.

    Raises:
        KafkaError: the broker does not take it.
        TimeoutError: it does not answer in time.
    """
    async with asyncio.timeout(LEAVE_SECONDS):
        node = await client.coordinator_lookup(CoordinationType.GROUP, group_id)
        response = await client.send(node, LeaveGroupRequest(group_id, member_id))
    error = for_code(response.error_code)
    if error not in (NoError, UnknownMemberIdError):
        raise error

"""One Redis that follows another, and stops following it."""

from uuid import uuid4

from redis.asyncio import Redis

from local_stack.ports import LOCALHOST
from local_stack.valkey import ValkeyServer
from tests.support.waiting import eventually


async def follow(replica: ValkeyServer, primary: ValkeyServer) -> None:
    """Make one the replica of the other, and return when it has what that has now."""
    async with Redis.from_url(replica.url) as redis:
        await redis.replicaof(LOCALHOST, str(primary.port))
    await catch_up(replica, primary)


async def catch_up(replica: ValkeyServer, primary: ValkeyServer) -> None:
    """Return when the replica has all that the primary has now."""
    marker = uuid4().hex
    async with Redis.from_url(primary.url) as of_primary, Redis.from_url(replica.url) as of_replica:
        await of_primary.set(marker, "", ex=60)

        async def has_marker() -> bool:
            return bool(await of_replica.exists(marker))

        await eventually(has_marker, what="the replica's catching up")


async def promote(server: ValkeyServer) -> None:
    """Have the replica take writes."""
    async with Redis.from_url(server.url) as redis:
        await redis.replicaof("NO", "ONE")
        assert (await redis.info("replication"))["role"] == "master"

"""What the worker does, one time."""

from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.protocols import PersistenceStoreProtocol


async def drain(queue: RedisPersistenceQueue, archive: PersistenceStoreProtocol) -> None:
    """Bring what is queued to Postgres."""
    entries = await queue.read(100, block_seconds=0)
    await archive.apply([entry.update for entry in entries if entry.update])
    await queue.acknowledge([entry.entry_id for entry in entries])

"""What each replica promises of its partitions, in one hash: written and read in one round trip."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count

import orjson

from batch_conductor_service.domain.freshness import GroupPromises, PartitionFreshness
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.queue import generation_of
from common_core.records import Partition
from service_libs.redis.connections import RedisCommand, dict_of
from service_libs.redis.transactions import AtomicRedisClientProtocol

TTL_SECONDS = 3600  # of the hash, renewed by every replica that runs


class RedisFreshnessBoard:
    """`FreshnessBoardProtocol`: a field for each partition, whoever reads it.

    Every value is another than the one before, also when it says the same. So what this process
    found when it looked first is believed only once it was written again.

    A promise made with a queue holds only while that is the queue that Redis has: when Redis comes
    back without its last seconds, what was applied in them is lost.
    """

    def __init__(self, redis: AtomicRedisClientProtocol) -> None:
        self._redis = redis
        self._writer = secrets.token_hex(8)
        self._writes = count()
        self._leftovers: Mapping[str, str] | None = None

    async def exchange(self, own: Mapping[Partition, PartitionFreshness]) -> GroupPromises:
        fields = {
            keys.partition_field(partition): self._dump(one) for partition, one in own.items()
        }
        commands: list[RedisCommand] = [
            ("HGETALL", keys.FRESHNESS),
            ("GET", keys.PERSISTENCE_EPOCH),
        ]
        if fields:
            pairs = [part for pair in fields.items() for part in pair]
            commands += [
                ("HSET", keys.FRESHNESS, *pairs),
                ("EXPIRE", keys.FRESHNESS, TTL_SECONDS),
            ]
        reading = await self._redis.read(commands)
        found, epoch = dict_of(reading.replies[0]), reading.replies[1]
        queue = generation_of(reading.server_run, epoch)
        if self._leftovers is None:
            self._leftovers = found
        written = {f: v for f, v in found.items() if self._leftovers.get(f) != v} | fields
        return GroupPromises(partitions=_load(written, queue), server_run=reading.server_run)

    def _dump(self, one: PartitionFreshness) -> str:
        return orjson.dumps(
            {
                "applied": one.applied_until.timestamp(),
                "archived": one.archived_until and one.archived_until.timestamp(),
                "queue": one.queue,
                "by": f"{self._writer}-{next(self._writes)}",
            }
        ).decode()


def _load(fields: Mapping[str, str], queue: str) -> dict[Partition, PartitionFreshness]:
    loaded = {}
    for field, value in fields.items():
        try:
            said = orjson.loads(value)
            if said["queue"] in (None, queue):
                loaded[keys.partition_of(field)] = PartitionFreshness(
                    applied_until=datetime.fromtimestamp(said["applied"], UTC),
                    archived_until=said["archived"]
                    and datetime.fromtimestamp(said["archived"], UTC),
                    queue=said["queue"],
                )
        except (ValueError, KeyError, TypeError):  # of another version: as good as unknown
            continue
    return loaded

"""What running consumers are asked to read again: one hash, gone by itself after an hour."""

import secrets
from collections.abc import Mapping, Sequence

from batch_conductor_service.implementations.redis import keys
from common_core.records import Partition
from service_libs.exceptions import StoreUnavailableError
from service_libs.kafka.records import ReplayRequest
from service_libs.redis.connections import RedisCommand, dict_of
from service_libs.redis.transactions import AtomicRedisClientProtocol, Compose, RedisReaderProtocol

TTL_SECONDS = 3600
ID = "id"
SETTLED = "obeyed"  # in place of the offset; the word that earlier versions write and read


class RedisReplayRequests:
    """`ReplayRequestsProtocol`: a field for each partition, with the offset or that it is done."""

    def __init__(self, redis: AtomicRedisClientProtocol) -> None:
        self._redis = redis

    async def submit(self, offsets: Mapping[Partition, int]) -> str:
        request_id = secrets.token_hex(8)

        async def compose(reader: RedisReaderProtocol) -> list[RedisCommand]:
            earlier = await _find(reader)
            wanted = dict(offsets)
            for partition, offset in earlier.offsets.items() if earlier else ():
                wanted[partition] = min(offset, wanted.get(partition, offset))
            fields = [
                part for p, offset in wanted.items() for part in (keys.partition_field(p), offset)
            ]
            return [
                ("DEL", keys.REPLAY_REQUEST),
                ("HSET", keys.REPLAY_REQUEST, ID, request_id, *fields),
                ("EXPIRE", keys.REPLAY_REQUEST, TTL_SECONDS),
            ]

        await self._change(compose)
        return request_id

    async def find(self) -> ReplayRequest | None:
        return await _find(self._redis)

    async def settle(self, request_id: str, partitions: Sequence[Partition]) -> None:
        async def compose(reader: RedisReaderProtocol) -> list[RedisCommand]:
            request = await _find(reader)
            if request is None or request.request_id != request_id:
                return []
            fields = [part for p in partitions for part in (keys.partition_field(p), SETTLED)]
            return [("HSET", keys.REPLAY_REQUEST, *fields)]

        await self._change(compose)

    async def _change(self, compose: Compose) -> None:
        if await self._redis.transact([keys.REPLAY_REQUEST], compose) is None:
            raise StoreUnavailableError("The request is written too often to be changed.")


async def _find(
    reader: AtomicRedisClientProtocol | RedisReaderProtocol,
) -> ReplayRequest | None:
    [reply] = (await reader.read([("HGETALL", keys.REPLAY_REQUEST)])).replies
    fields = dict_of(reply)
    if ID not in fields:
        return None
    request_id = fields.pop(ID)
    return ReplayRequest(
        request_id=request_id,
        offsets={keys.partition_of(f): int(said) for f, said in fields.items() if said != SETTLED},
        settled=frozenset(keys.partition_of(f) for f, said in fields.items() if said == SETTLED),
    )

"""Whether Redis lets its user do what the service does, tried without doing it.

Inside MULTI the server looks at the rights to a command and its keys when it queues it, and DISCARD
forgets all of them. So a right that is missing is known before the first event needs it.
"""

from redis.asyncio import Redis

from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.refusals import describe, is_refusal
from batch_conductor_service.models import BatchId, EssayId
from batch_conductor_service.port_values import RedisCommand
from service_libs.exceptions import StoreUnavailableError

_BATCH = BatchId("rehearsal")  # of no batch: nothing is read or written
_HASH = keys.batch(_BATCH)
_SET = keys.UNARCHIVED
_INDEX = keys.earlier_index(_BATCH)
_DOCUMENT = keys.essay_state(_BATCH, EssayId("rehearsal"))
_COUNTS = keys.pipeline_state(_BATCH)
_QUEUE = keys.PERSISTENCE_QUEUE
_GROUP = keys.PERSISTENCE_GROUP

COMMANDS: tuple[RedisCommand, ...] = (
    ("GET", _DOCUMENT),
    ("MGET", _DOCUMENT),
    ("SET", _DOCUMENT, ""),
    ("DEL", _DOCUMENT),
    ("EXISTS", _HASH),
    ("EXPIRE", _HASH, 1),
    ("SCAN", 0),
    ("HGET", _HASH, ""),
    ("HMGET", _HASH, ""),
    ("HGETALL", _COUNTS),
    ("HVALS", _HASH),
    ("HSET", _COUNTS, "", ""),
    ("HINCRBY", _HASH, "", 1),
    ("HDEL", _HASH, ""),
    ("SADD", _SET, ""),
    ("SREM", _SET, ""),
    ("SRANDMEMBER", _SET, 1),
    ("SMEMBERS", _INDEX),
    ("SISMEMBER", _SET, ""),
    ("HEXISTS", _HASH, ""),
    ("HKEYS", _HASH),
    ("INCRBY", keys.PERSISTENCE_BYTES, 1),
    ("DECRBY", keys.PERSISTENCE_BYTES, 1),
    ("XADD", _QUEUE, "*", "", ""),
    ("XLEN", _QUEUE),
    ("XRANGE", _QUEUE, "-", "+"),
    ("XDEL", _QUEUE, "0-0"),
    ("XGROUP", "CREATE", _QUEUE, _GROUP, "0", "MKSTREAM"),
    ("XREADGROUP", "GROUP", _GROUP, "", "STREAMS", _QUEUE, ">"),
    ("XAUTOCLAIM", _QUEUE, _GROUP, "", 0, "0"),
    ("XPENDING", _QUEUE, _GROUP),
    ("XINFO", "GROUPS", _QUEUE),
    ("XACK", _QUEUE, _GROUP, "0-0"),
    ("EVAL", "", 1, keys.SERVER_RUN),
    ("EVALSHA", "0" * 40, 1, _QUEUE),
    ("SCRIPT", "LOAD", ""),
    ("TIME",),
    ("INFO", "replication"),
)
# Two keys of one batch, which in a cluster are rarely in one place; a watch ends with DISCARD.
_BEGIN: tuple[RedisCommand, ...] = (("WATCH", _HASH, _COUNTS), ("MULTI",))
_END: tuple[RedisCommand, ...] = (("DISCARD",),)


async def rehearse(redis: Redis) -> None:
    """Return if every command that the service uses is allowed, with its keys.

    Raises:
        StoreUnavailableError: one is not; the message names it and the right that is missing.
        redis.RedisError: the server could not be asked.
    """
    commands = [*_BEGIN, *COMMANDS, *_END]
    async with redis.pipeline(transaction=False) as pipe:
        for name, *arguments in commands:
            # redis-py makes no reply of a command that it knows out of what is not one: a name
            # in bytes is none that it knows.
            pipe.execute_command(str(name).encode(), *arguments)
        replies = await pipe.execute(raise_on_error=False)
    for command, reply in zip(commands, replies, strict=True):
        if is_refusal(reply):
            raise StoreUnavailableError(describe(reply, str(command[0]))) from reply

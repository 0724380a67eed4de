"""What the user of Redis needs the rights to: every command, with a key that it is used on."""

from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.models import BatchId, EssayId
from service_libs.redis.connections import RedisCommand

_BATCH = BatchId("rehearsal")  # of no batch: nothing is read or written
_HASH = keys.batch(_BATCH)
_SET = keys.UNARCHIVED
_INDEX = keys.earlier(_BATCH, "essays")
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
    ("EVAL", "", 1, keys.NAMES.server_run),
    ("EVALSHA", "0" * 40, 1, _QUEUE),
    ("SCRIPT", "LOAD", ""),
    ("TIME",),
    ("INFO", "replication"),
)
WATCHED = (_HASH, _COUNTS)  # together, in one transaction

"""The queue of updates that wait for Postgres: a Redis Stream with one consumer group.

The group never starts past an entry and an entry leaves only when acknowledged, so what is below
the watermark is in Postgres. That holds for one queue in the data of one run of the server: the
generation names both.
"""

import secrets
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import structlog

from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.models import BatchId, BatchUpdate, QueueBacklog, QueueEntry, Watermark
from batch_conductor_service.persisting.codec import ForeignPayloadError, decode_update
from batch_conductor_service.protocols import MAX_READ_BYTES
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import (
    IS_REPLICA,
    RedisCommand,
    RedisPolicy,
    connect,
    execute,
    recognise_command,
    script_text,
    translated,
)
from service_libs.timing import in_turns

ENTRIES_PER_LOOK = 20  # where nothing bounds their bytes
LONGEST_CLAIM_SECONDS = 1.0  # between two looks for what another worker has left

_QUEUE_KEYS = [
    keys.PERSISTENCE_QUEUE,
    keys.PERSISTENCE_EPOCH,
    keys.PERSISTENCE_WAITING,
    keys.PERSISTENCE_BYTES,
]

_ENSURE_QUEUE = script_text(__package__, "ensure_queue")
_TAKE = script_text(__package__, "take")

logger = structlog.get_logger(__name__)


class WaitingEntries:
    """What this process knows of the queue, for when Redis cannot be asked.

    That is what it saw there, and what it put there since. Where it cannot know, something waits:
    an answer from Postgres alone could miss it, and it may be a failure.
    """

    def __init__(self) -> None:
        self._is_empty = False
        self._queued_at = time.monotonic()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waited at the last look, and nothing was queued from here since."""
        return self._is_empty

    def note_queued(self) -> None:
        """Note that something is being queued, or may have been."""
        self._is_empty = False
        self._queued_at = time.monotonic()

    def note_look(self, depth: int | None, began_at: float) -> None:
        """Note what a look at the queue saw that began then (monotonic seconds).

        None instead of a depth says that it cannot be known.
        """
        self._is_empty = depth == 0 and began_at > self._queued_at


class RedisPersistenceQueue:
    """`PersistenceQueueProtocol` on a stream.

    Args:
        worker_name: names this worker in the group; that of a dead one makes it its successor, who
            begins with what that one had in hand. Two that live and share a name may write the same
            entries, which is safe, but wasted.
        takeover_seconds: how long an entry stays with a silent worker before another takes it;
            longer than the slowest write, or two would work on it (which is safe, but wasted).
    """

    def __init__(
        self,
        url: str,
        policy: RedisPolicy,
        *,
        worker_name: str,
        takeover_seconds: float,
        waiting: WaitingEntries | None = None,
    ) -> None:
        self._redis = connect(url, policy, keys.NAMES, decode_responses=False)
        self._acknowledge = self._redis.register_script(script_text(__package__, "acknowledge"))
        self._leave = self._redis.register_script(script_text(__package__, "leave"))
        self._epoch = b""  # of the queue that the entries in hand were read from
        self._largest_bytes = 1  # of the entries read last
        self._waiting = waiting or WaitingEntries()
        self._longest_block_seconds = policy.timeout_seconds / 2
        self._worker_name = worker_name
        self._inherits_after = "0"  # this entry; "" when all that was left behind is taken
        self._takeover_ms = int(takeover_seconds * 1000)
        self._claim_seconds = min(takeover_seconds / 10, LONGEST_CLAIM_SECONDS)
        self._claim_due = 0.0  # monotonic seconds

    async def read(
        self, count: int, *, block_seconds: float, max_bytes: int = MAX_READ_BYTES
    ) -> Sequence[QueueEntry]:
        taken = await self._take(count, max_bytes)
        if self._inherits_after:
            self._inherits_after = taken[-1][0].decode() if taken else ""
            taken = taken or await self._take(count, max_bytes)
        payloads = [(entry_id, _payload_of(fields)) for entry_id, fields in taken]
        if not payloads and block_seconds:
            payloads = await self._await_new(min(count, ENTRIES_PER_LOOK), block_seconds)
        self._largest_bytes = max((len(payload) for _, payload in payloads), default=1) or 1
        entries = [self._entry(*one) async for one in in_turns(payloads)]
        return [entry for entry in entries if entry]

    async def acknowledge(self, entry_ids: Sequence[str]) -> None:
        if not entry_ids:
            return
        async with translated(keys.NAMES):
            await self._acknowledge(
                keys=_QUEUE_KEYS,
                args=[keys.PERSISTENCE_GROUP, self._epoch, *entry_ids],
            )

    async def get_watermark(self) -> Watermark:
        [[epoch, lowest, last_delivered], server_run] = await self._run(
            _ensure_command(), recognise_command(keys.NAMES)
        )
        return Watermark(
            generation=generation_of(server_run.decode(), epoch.decode()),
            held_through=_before(lowest) if lowest else _parts(last_delivered),
        )

    async def get_backlog(self) -> QueueBacklog:
        began_at = time.monotonic()
        depth, size, oldest, (seconds, microseconds), server_run = await self._run(
            ("XLEN", keys.PERSISTENCE_QUEUE),
            ("GET", keys.PERSISTENCE_BYTES),
            ("XRANGE", keys.PERSISTENCE_QUEUE, "-", "+", "COUNT", 1),
            ("TIME",),
            recognise_command(keys.NAMES),
        )
        if not server_run:
            self._waiting.note_look(None, began_at)
            async with translated(keys.NAMES):
                await self._redis.connection_pool.disconnect(inuse_connections=False)
            raise StoreUnavailableError(IS_REPLICA)
        self._waiting.note_look(depth, began_at)
        if not oldest:
            return QueueBacklog(depth=0, oldest_age_seconds=0)
        # Both times are the server's: an entry id begins with its milliseconds.
        now_ms = seconds * 1000 + microseconds / 1000
        age_ms = max(0.0, now_ms - _parts(oldest[0][0])[0])
        return QueueBacklog(
            depth=depth, oldest_age_seconds=age_ms / 1000, size_bytes=max(0, int(size or 0))
        )

    async def find_queued(self, batch_ids: Collection[BatchId]) -> list[BatchUpdate]:
        """Return what waits, or is in a worker's hands, of these batches. Walks the queue."""
        queued: list[BatchUpdate] = []
        start = b"-"
        while True:
            [entries] = await self._run(
                ("XRANGE", keys.PERSISTENCE_QUEUE, start, "+", "COUNT", ENTRIES_PER_LOOK)
            )
            found = (
                self._entry(entry_id, fields.get(b"update", b""))
                for entry_id, fields in entries
                if fields.get(b"batch", b"").decode() in batch_ids  # others are not worth decoding
            )
            updates = (entry.update for entry in found if entry is not None)
            queued += [one for one in updates if one is not None and one.batch_id in batch_ids]
            if len(entries) < ENTRIES_PER_LOOK:
                return queued
            start = b"(" + entries[-1][0]

    async def close(self) -> None:
        """Leave the group, so that nothing waits for this worker, and close the connections."""
        if self._epoch:  # else it never was in it, and one of its name may be
            await self._leave_group()
        await self._redis.aclose()

    async def _leave_group(self) -> None:
        with suppress(StoreUnavailableError):  # what it leaves behind is taken over, only later
            async with translated(keys.NAMES):
                await self._leave(
                    keys=[keys.PERSISTENCE_QUEUE],
                    args=[keys.PERSISTENCE_GROUP, self._worker_name],
                )

    async def _run(self, *commands: RedisCommand) -> list[Any]:
        async with translated(keys.NAMES), self._redis.pipeline(transaction=True) as pipe:
            return await execute(pipe, commands)

    async def _take(self, count: int, max_bytes: int) -> list[tuple[bytes, list[bytes]]]:
        """Take what there is; first of all what a dead worker of this name had in hand."""
        claims = time.monotonic() >= self._claim_due
        arguments = (
            *(keys.PERSISTENCE_GROUP, self._worker_name, self._takeover_ms if claims else ""),
            *(count, max_bytes, self._largest_bytes, self._inherits_after),
        )
        take = ("EVAL", _TAKE, 1, keys.PERSISTENCE_QUEUE, *arguments)
        [[self._epoch, *_], [claimed, taken]] = await self._run(_ensure_command(), take)
        if claims and not claimed:
            self._claim_due = time.monotonic() + self._claim_seconds
        return list(taken)

    async def _await_new(self, count: int, block_seconds: float) -> list[tuple[bytes, bytes]]:
        # A block longer than the socket's time-out would look like a dead server.
        block_ms = int(min(block_seconds, self._longest_block_seconds) * 1000)
        async with translated(keys.NAMES):
            streams: Any = await self._redis.xreadgroup(
                keys.PERSISTENCE_GROUP,
                self._worker_name,
                {keys.PERSISTENCE_QUEUE: ">"},
                count=count,
                block=max(1, block_ms),
            )
        return [
            (entry_id, fields.get(b"update", b""))
            for _, entries in streams
            for entry_id, fields in entries
        ]

    @staticmethod
    def _entry(entry_id: bytes, payload: bytes) -> QueueEntry | None:
        """Return the entry, or None for one that only a worker of another version can read.

        That stays in the queue until such a worker takes it over.
        """
        try:
            update = decode_update(payload)
        except ForeignPayloadError:
            logger.warning("queue_entry_of_another_version", entry_id=entry_id.decode())
            return None
        except ValueError:
            update = None
        return QueueEntry(entry_id=entry_id.decode(), update=update, payload=payload)


def generation_of(server_run: str, epoch: str | None) -> str:
    """Return what names the queue, in the data that the server has now."""
    return f"{server_run}:{epoch or ''}"


def _ensure_command() -> RedisCommand:
    """Return the command that makes the queue where it is missing; see the script."""
    arguments = (keys.PERSISTENCE_GROUP, secrets.token_hex(8))
    return ("EVAL", _ENSURE_QUEUE, len(_QUEUE_KEYS), *_QUEUE_KEYS, *arguments)


def _payload_of(fields: Sequence[bytes]) -> bytes:
    """Return the payload among the names and values of an entry's fields."""
    return dict(zip(fields[::2], fields[1::2], strict=True)).get(b"update", b"")


def _parts(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.decode().partition("-")
    return int(milliseconds), int(sequence)


def _before(entry_id: bytes) -> tuple[int, int]:
    """Return the id just below: an entry with a lower id is not pending any more."""
    milliseconds, sequence = _parts(entry_id)
    return milliseconds, sequence - 1

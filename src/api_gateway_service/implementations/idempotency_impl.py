"""Which requests were made under which key: for all replicas in Redis, and per process without it.

What is lost with either is only comfort: BOS knows every request by its id, and makes one run of it
however often it is sent.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from typing import cast
from uuid import UUID

from cachetools import TTLCache

from api_gateway_service.implementations.redis_connection_impl import GatewayRedis, Script
from api_gateway_service.models.values import Claim, ClaimOutcome, RequestRecord
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import script_text

KEPT_SECONDS = 24 * 3600
MAX_KEPT = 50_000  # by a process; those that were not asked for longest go first

_CLAIM = Script(script_text(__package__, "claim"))
_CHANGE = Script(script_text(__package__, "change"))


@dataclass(slots=True)
class _Kept:
    record: RequestRecord
    in_flight_until: float
    is_made: bool = False


class ProcessIdempotencyStore:
    """`IdempotencyStoreProtocol` in the memory of this process."""

    def __init__(self, *, in_flight_seconds: float) -> None:
        self._in_flight_seconds = in_flight_seconds
        self._kept: TTLCache[UUID, _Kept] = TTLCache(MAX_KEPT, KEPT_SECONDS)

    async def claim(self, request_id: UUID, record: RequestRecord) -> Claim:
        in_flight_until = time.monotonic() + self._in_flight_seconds
        kept = self._kept.get(request_id)
        if kept is None:
            self._kept[request_id] = _Kept(record, in_flight_until)
            return Claim(outcome=ClaimOutcome.BEGUN, record=record)
        outcome = self._outcome(kept, record)
        if outcome is ClaimOutcome.BEGUN:
            kept.in_flight_until = in_flight_until
        return Claim(outcome=outcome, record=kept.record)

    async def complete(self, request_id: UUID) -> None:
        if kept := self._kept.get(request_id):
            kept.is_made = True

    async def release(self, request_id: UUID) -> None:
        if kept := self._kept.get(request_id):
            kept.in_flight_until = 0

    @staticmethod
    def _outcome(kept: _Kept, record: RequestRecord) -> ClaimOutcome:
        if kept.record.fingerprint != record.fingerprint:
            return ClaimOutcome.REUSED
        if kept.is_made:
            return ClaimOutcome.MADE
        is_in_flight = kept.in_flight_until > time.monotonic()
        return ClaimOutcome.IN_FLIGHT if is_in_flight else ClaimOutcome.BEGUN


class RedisIdempotencyStore:
    """`IdempotencyStoreProtocol` in Redis; this process's own store serves while Redis is away.

    Either may have begun a request, so its end is written to both.
    """

    def __init__(
        self, redis: GatewayRedis, own: ProcessIdempotencyStore, *, in_flight_seconds: float
    ) -> None:
        self._redis = redis
        self._own = own
        self._in_flight_ms = int(in_flight_seconds * 1000)

    async def claim(self, request_id: UUID, record: RequestRecord) -> Claim:
        try:
            return await self._claim_shared(request_id, record)
        except StoreUnavailableError:
            return await self._own.claim(request_id, record)

    async def complete(self, request_id: UUID) -> None:
        await self._own.complete(request_id)
        # Without it a retry sends the request again, and BOS knows it by its id.
        await self._set(request_id, "state", "made")

    async def release(self, request_id: UUID) -> None:
        await self._own.release(request_id)
        # Without it a retry waits for as long as a send may take.
        await self._set(request_id, "until", "0")

    async def _claim_shared(self, request_id: UUID, record: RequestRecord) -> Claim:
        reply = await self._redis.run(
            _CLAIM,
            [_key(request_id)],
            record.fingerprint,
            str(record.correlation_id),
            record.accepted_at.isoformat(),
            self._in_flight_ms,
            KEPT_SECONDS,
            token_hex(8),
        )
        outcome, correlation_id, accepted_at = cast("tuple[str, str, str]", reply)
        return Claim(
            outcome=ClaimOutcome(outcome),
            record=RequestRecord(
                fingerprint=record.fingerprint,
                correlation_id=UUID(correlation_id),
                accepted_at=datetime.fromisoformat(accepted_at),
            ),
        )

    async def _set(self, request_id: UUID, field: str, value: str) -> None:
        with suppress(StoreUnavailableError):
            await self._redis.run(_CHANGE, [_key(request_id)], field, value)


def _key(request_id: UUID) -> str:
    """Return the key of a request; it is kept for 24 hours from the first try."""
    return f"gateway:request:{request_id}"

"""Which requests were made under which key: for all replicas in Redis, and per process without it.

What is lost with either is only comfort: BOS knows every request by its id, and makes one run of it
however often it is sent.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from api_gateway_service.implementations.redis_connection_impl import GatewayRedis, Script
from api_gateway_service.models.values import Claim, ClaimOutcome, RequestRecord
from api_gateway_service.protocols import IdempotencyStoreProtocol
from service_libs.exceptions import StoreUnavailableError

KEPT_SECONDS = 24 * 3600
MAX_KEPT = 50_000  # by a process; the longest unused go first

_CLAIM, _CHANGE = Script("claim"), Script("change")


class RedisIdempotencyStore:
    """`IdempotencyStoreProtocol` in Redis; raises `StoreUnavailableError` where that is away."""

    def __init__(self, redis: GatewayRedis, *, in_flight_seconds: float) -> None:
        self._redis = redis
        self._in_flight_ms = int(in_flight_seconds * 1000)

    async def claim(self, request_id: UUID, record: RequestRecord) -> Claim:
        outcome, correlation_id, accepted_at = await self._redis.run(
            _CLAIM,
            [_key(request_id)],
            [
                record.fingerprint,
                str(record.correlation_id),
                record.accepted_at.isoformat(),
                self._in_flight_ms,
                KEPT_SECONDS,
            ],
        )
        return Claim(
            outcome=ClaimOutcome(outcome),
            record=RequestRecord(
                fingerprint=record.fingerprint,
                correlation_id=UUID(correlation_id),
                accepted_at=datetime.fromisoformat(accepted_at),
            ),
        )

    async def complete(self, request_id: UUID) -> None:
        await self._set(request_id, "state", "made")

    async def release(self, request_id: UUID) -> None:
        await self._set(request_id, "until", "0")

    async def _set(self, request_id: UUID, field: str, value: str) -> None:
        await self._redis.run(_CHANGE, [_key(request_id)], [field, value])


@dataclass(slots=True)
class _Kept:
    record: RequestRecord
    kept_until: float
    in_flight_until: float
    is_made: bool = False


class ProcessIdempotencyStore:
    """`IdempotencyStoreProtocol` in the memory of this process."""

    def __init__(
        self, *, in_flight_seconds: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._in_flight_seconds = in_flight_seconds
        self._now = now
        self._kept: OrderedDict[UUID, _Kept] = OrderedDict()

    async def claim(self, request_id: UUID, record: RequestRecord) -> Claim:
        now = self._now()
        kept = self._kept.get(request_id)
        if kept is None or kept.kept_until <= now:
            self._kept[request_id] = _Kept(
                record, now + KEPT_SECONDS, now + self._in_flight_seconds
            )
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return Claim(outcome=ClaimOutcome.BEGUN, record=record)
        outcome = self._outcome(kept, record)
        if outcome is ClaimOutcome.BEGUN:
            kept.in_flight_until = now + self._in_flight_seconds
        return Claim(outcome=outcome, record=kept.record)

    async def complete(self, request_id: UUID) -> None:
        if kept := self._kept.get(request_id):
            kept.is_made = True

    async def release(self, request_id: UUID) -> None:
        if kept := self._kept.get(request_id):
            kept.in_flight_until = 0

    def _outcome(self, kept: _Kept, record: RequestRecord) -> ClaimOutcome:
        if kept.record.fingerprint != record.fingerprint:
            return ClaimOutcome.REUSED
        if kept.is_made:
            return ClaimOutcome.MADE
        is_in_flight = kept.in_flight_until > self._now()
        return ClaimOutcome.IN_FLIGHT if is_in_flight else ClaimOutcome.BEGUN


class FallbackIdempotencyStore:
    """`IdempotencyStoreProtocol`: shared while that can be asked, else this process's own.

    What one has begun the other need not know: the end of a request is told to both.
    """

    def __init__(self, shared: IdempotencyStoreProtocol, own: IdempotencyStoreProtocol) -> None:
        self._shared = shared
        self._own = own

    async def claim(self, request_id: UUID, record: RequestRecord) -> Claim:
        try:
            return await self._shared.claim(request_id, record)
        except StoreUnavailableError:
            return await self._own.claim(request_id, record)

    async def complete(self, request_id: UUID) -> None:
        await self._own.complete(request_id)
        with suppress(StoreUnavailableError):  # a retry then sends it again, and BOS knows it
            await self._shared.complete(request_id)

    async def release(self, request_id: UUID) -> None:
        await self._own.release(request_id)
        with suppress(StoreUnavailableError):  # a retry then waits as long as a send may take
            await self._shared.release(request_id)


def _key(request_id: UUID) -> str:
    """Return the key of a request; it is kept for 24 hours from the first try."""
    return f"gateway:request:{request_id}"

"""From a click to a command: once, however often the same click arrives."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import orjson

from api_gateway_service.exceptions import (
    BatchMismatchError,
    InvalidFieldsError,
    KeyReusedError,
    NotAcknowledgedError,
    RequestInFlightError,
)
from api_gateway_service.models.requests import PipelineRequest
from api_gateway_service.models.values import (
    ClaimOutcome,
    PipelineCommand,
    Principal,
    RequestRecord,
)
from api_gateway_service.protocols import CommandPublisherProtocol, IdempotencyStoreProtocol
from api_gateway_service.services.batch_access import BatchAccess
from common_core.flow import ClientBatchPipelineRequestV1
from common_core.problem import FieldError
from service_libs.failpoints import failpoint
from service_libs.protocols import ClockProtocol

_NAMESPACE = uuid5(NAMESPACE_URL, "api-gateway-service")

PipelineNames = Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """What a caller asks for, and how he named it.

    Attributes:
        key: the Idempotency-Key, if he gave one.
        request_id: the id that follows from user and key; without a key a new one.
    """

    batch_id: str
    request: PipelineRequest
    principal: Principal
    correlation_id: UUID
    key: str | None
    request_id: UUID

    @property
    def fingerprint(self) -> str:
        """Digest of the batch and of what is asked for: the same click, the same digest."""
        asked = self.request.model_dump(mode="json", exclude={"batch_id"})
        content = orjson.dumps([self.batch_id, asked], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(content).hexdigest()


def request_id_of(user_id: str, key: str | None) -> UUID:
    """Return the id of a request: for the same user and key the same, in every replica, always."""
    if key is None:
        return uuid4()
    # The length of the first, so that no two pairs read the same.
    return uuid5(_NAMESPACE, f"request/{len(user_id)}:{user_id}/{key}")


class PipelineRequests:
    """Sends what callers ask for to BOS."""

    def __init__(
        self,
        access: BatchAccess,
        idempotency: IdempotencyStoreProtocol,
        publisher: CommandPublisherProtocol,
        pipelines: PipelineNames,
        clock: ClockProtocol,
    ) -> None:
        self._access = access
        self._idempotency = idempotency
        self._publisher = publisher
        self._pipelines = pipelines
        self._clock = clock

    async def send(self, click: Click) -> RequestRecord:
        """Return when Kafka has the request, now or from before, with the record of its first try.

        Raises:
            BatchMismatchError: it names another batch than its path.
            InvalidFieldsError: there is no such pipeline.
            UnknownBatchError: the batch is not the caller's.
            KeyReusedError: the key was used for something else.
            RequestInFlightError: the same request is being sent.
            NotAcknowledgedError: Kafka did not say that it has it; it may.
        """
        self._check(click)
        await self._access.check_owner(click.batch_id, click.principal)
        record = RequestRecord(
            fingerprint=click.fingerprint,
            correlation_id=click.correlation_id,
            accepted_at=self._clock.now(),
        )
        if click.key is None:
            await self._publish(click, record)
            return record
        return await self._send_once(click, record)

    async def _send_once(self, click: Click, record: RequestRecord) -> RequestRecord:
        claim = await self._idempotency.claim(click.request_id, record)
        match claim.outcome:
            case ClaimOutcome.REUSED:
                raise KeyReusedError
            case ClaimOutcome.IN_FLIGHT:
                raise RequestInFlightError
            case ClaimOutcome.MADE:
                return claim.record
        failpoint("gateway.claimed")
        try:
            await self._publish(click, claim.record)
        except NotAcknowledgedError:
            await self._idempotency.release(click.request_id)
            raise
        await self._idempotency.complete(click.request_id)
        failpoint("gateway.completed")
        return claim.record

    async def _publish(self, click: Click, record: RequestRecord) -> None:
        data = click.request.model_dump(exclude={"batch_id"})
        command = ClientBatchPipelineRequestV1(
            **data,
            batch_id=click.batch_id,
            client_correlation_id=record.correlation_id,
            user_id=click.principal.user_id,
            request_id=click.request_id,
        )
        await self._publisher.publish(
            PipelineCommand(
                data=command,
                correlation_id=record.correlation_id,
                made_at=self._clock.now(),
            )
        )

    def _check(self, click: Click) -> None:
        request = click.request
        if request.batch_id is not None and request.batch_id != click.batch_id:
            raise BatchMismatchError
        if request.requested_pipeline not in self._pipelines:
            raise InvalidFieldsError(
                [FieldError(field="requested_pipeline", message="There is no such pipeline.")]
            )

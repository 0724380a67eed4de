"""A client's request: taken in, under the lock of its batch, and never answered for by BCS."""

import hashlib

import orjson
import structlog

from batch_orchestrator_service.domain import identity
from batch_orchestrator_service.domain.accepting import Accepted, accept
from batch_orchestrator_service.domain.models import Prompt, Request
from batch_orchestrator_service.exceptions import RequestIdTakenError
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.protocols import AuditEntry, RunStoreProtocol
from batch_orchestrator_service.reporting import report_step
from common_core.flow import ClientBatchPipelineRequestV1
from service_libs.protocols import ClockProtocol

logger = structlog.get_logger(__name__)


class ClientBatchPipelineRequestHandler:
    """Makes a run of a request, or finds the one that it leads to; asks nobody but the store."""

    def __init__(self, store: RunStoreProtocol, metrics: Metrics, clock: ClockProtocol) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock

    async def handle(self, said: ClientBatchPipelineRequestV1) -> None:
        """Take the request in; the same one again changes nothing.

        Raises:
            TransientError: the store cannot be reached; nothing is kept.
        """
        request = to_request(said)
        try:
            accepted = await self._accept(request, is_taken_elsewhere=False)
        except RequestIdTakenError:
            accepted = await self._accept(request, is_taken_elsewhere=True)
        self._metrics.requests.labels(accepted.decision.value).inc()
        logger.info(
            "request_taken_in",
            decision=accepted.decision.value,
            batch_id=request.batch_id,
            pipeline=request.pipeline,
            request_id=str(request.request_id),
            run_id=str(accepted.run.run_id) if accepted.run else None,
        )

    async def _accept(self, request: Request, *, is_taken_elsewhere: bool) -> Accepted:
        async with self._store.lock(request.batch_id) as batch:
            before = batch.state
            accepted = accept(
                before, request, self._clock.now(), is_taken_elsewhere=is_taken_elsewhere
            )
            entry = AuditEntry(
                request=request,
                decision=accepted.decision,
                run_id=accepted.run.run_id if accepted.run else None,
            )
            await batch.save(accepted.state, audit=[entry])
        report_step(self._metrics, before, accepted.state)
        return accepted


def to_request(said: ClientBatchPipelineRequestV1) -> Request:
    """Return the request; one that was sent without an id has the one that follows from it."""
    user_id, correlation_id = said.user_id, said.client_correlation_id
    derived = identity.request_id(
        correlation_id, said.batch_id, said.requested_pipeline, said.user_id
    )
    payload = said.prompt_payload
    return Request(
        request_id=said.request_id or derived,
        batch_id=said.batch_id,
        pipeline=said.requested_pipeline,
        user_id=user_id,
        correlation_id=correlation_id,
        fingerprint=_fingerprint(said),
        is_retry=said.is_retry,
        retry_reason=said.retry_reason,
        prompt=Prompt(
            assignment_id=payload.assignment_id if payload else None,
            cms_prompt_ref=payload.cms_prompt_ref if payload else None,
        ),
    )


def _fingerprint(said: ClientBatchPipelineRequestV1) -> str:
    """Return the digest of the batch and of what was asked for: the same click, the same digest."""
    asked = said.model_dump(
        mode="json",
        include={
            "batch_id",
            "requested_pipeline",
            "user_id",
            "is_retry",
            "retry_reason",
            "prompt_payload",
        },
    )
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()

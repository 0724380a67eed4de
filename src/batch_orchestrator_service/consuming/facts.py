"""What others say of batches: whose they are, that their essays are there, how phases ended."""

from datetime import timedelta
from uuid import UUID

import structlog

from batch_orchestrator_service.domain import registering
from batch_orchestrator_service.domain.accepting import Decision
from batch_orchestrator_service.domain.advancing import Deadline, Effect, Outcome, take_outcome
from batch_orchestrator_service.domain.models import Request, Run
from batch_orchestrator_service.domain.registering import Registration
from batch_orchestrator_service.events.messages import to_outgoing
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.protocols import AuditEntry, RunStoreProtocol, UnusedOutcome
from batch_orchestrator_service.reporting import report_step
from common_core.events import ELSBatchPhaseOutcomeV1
from common_core.flow import (
    BatchContentProvisioningCompletedV1,
    BatchEssaysReady,
    BatchRegistered,
    EssayText,
)
from service_libs.protocols import ClockProtocol

logger = structlog.get_logger(__name__)


class BatchFactsHandler:
    """Notes what is said of batches, each in one transaction under the lock of its batch.

    Every method may raise `TransientError`: then nothing of it is kept.
    """

    def __init__(
        self,
        store: RunStoreProtocol,
        metrics: Metrics,
        clock: ClockProtocol,
        deadline: Deadline,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._deadline = deadline

    async def register(self, said: BatchRegistered) -> None:
        """Note whose batch it is."""
        registration = Registration(
            user_id=said.user_id,
            course_code=said.course_code,
            expected=max(said.expected_essay_count, len(set(said.essay_ids))),
            is_guest=said.class_id is None,
            prompt_ref=said.student_prompt_ref,
        )
        async with self._store.lock(said.batch_id) as batch:
            state, strange = registering.register(batch.state, registration, self._clock.now())
            await batch.save(state, audit=[_not_found(said.batch_id, run) for run in strange])
        if strange:
            logger.warning("runs_of_strangers_dropped", batch_id=said.batch_id, runs=len(strange))

    async def take_ready_essays(self, said: BatchEssaysReady) -> None:
        """Note that the essays of a class's batch are there."""
        async with self._store.lock(said.batch_id) as batch:
            texts = _texts(said.ready_essays)
            now = self._clock.now()
            await batch.save(
                registering.take_ready_essays(batch.state, texts, now, said.student_prompt_ref)
            )

    async def take_provisioned(self, said: BatchContentProvisioningCompletedV1) -> None:
        """Note that the essays of a guest's batch are there."""
        async with self._store.lock(said.batch_id) as batch:
            state = registering.take_provisioned(
                batch.state,
                _texts(said.essays_for_processing),
                said.expected_count,
                self._clock.now(),
            )
            await batch.save(state)

    async def take_outcome(self, said: ELSBatchPhaseOutcomeV1, correlation_id: str) -> None:
        """Go on with the run whose phase has ended; any other outcome is noted, and moves nothing.

        An essay that is said to have gone through and to have failed has failed.
        """
        failed = set(said.failed_essay_ids)
        outcome = Outcome(
            correlation_id=_as_uuid(said.correlation_id) or _as_uuid(correlation_id),
            phase=said.phase_name,
            status=said.phase_status,
            processed={
                one.essay_id: one.text_storage_id
                for one in said.processed_essays
                if one.essay_id not in failed
            },
        )
        async with self._store.lock(said.batch_id) as batch:
            before, now = batch.state, self._clock.now()
            step, effect = take_outcome(before, outcome, now, self._deadline)
            messages = [to_outgoing(one, step.state.batch, now) for one in step.messages]
            unused = [UnusedOutcome(outcome=outcome, effect=effect)]
            await batch.save(step.state, messages, unused=[] if effect is Effect.MOVED else unused)
        self._metrics.outcomes.labels(effect.value).inc()
        report_step(self._metrics, before, step.state, step.messages)
        logger.info(
            "phase_outcome_taken_in",
            effect=effect.value,
            batch_id=said.batch_id,
            phase=said.phase_name,
            status=said.phase_status,
        )


def deadlines(default_seconds: float, by_phase: dict[str, float]) -> Deadline:
    """Return how long each phase may take."""
    return lambda phase: timedelta(seconds=by_phase.get(phase, default_seconds))


def _texts(essays: tuple[EssayText, ...]) -> dict[str, str]:
    return {essay.essay_id: essay.text_storage_id for essay in essays}


def _as_uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


def _not_found(batch_id: str, run: Run) -> AuditEntry:
    request = Request(
        request_id=run.request_ids[0] if run.request_ids else run.run_id,
        batch_id=batch_id,
        pipeline=run.pipeline,
        user_id=run.user_id,
        correlation_id=run.client_correlation_id,
        fingerprint="",
    )
    return AuditEntry(request=request, decision=Decision.NOT_FOUND, run_id=None)

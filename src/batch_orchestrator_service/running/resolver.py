"""From a waiting run to its first command, as BCS says what of the pipeline is still to run."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from batch_conductor_client import Refused, Unavailable, UnknownPipeline
from batch_orchestrator_service.domain import resolving, texts
from batch_orchestrator_service.domain.advancing import Deadline, start
from batch_orchestrator_service.domain.models import BatchState, Output, Run
from batch_orchestrator_service.domain.states import RejectionReason, RunState
from batch_orchestrator_service.events.messages import to_outgoing
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.protocols import BatchTransactionProtocol, RunStoreProtocol
from batch_orchestrator_service.reporting import report_step
from batch_orchestrator_service.running.asking import Judgement, Outputs, Plan, Questions
from batch_orchestrator_service.signals import Signals
from service_libs.backoff import spread
from service_libs.exceptions import TransientError
from service_libs.failpoints import failpoint
from service_libs.protocols import ClockProtocol

FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 2.5  # so that a run starts soon after BCS is back
LOOK_SECONDS = 1.0  # between two looks for runs, where nobody wakes it
# Why there is no answer, where waiting alone does not help: somebody has to look.
FAULTS = frozenset({"fault", "garbled", "pipeline_files_differ"})

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolverPolicy:
    """How runs are resolved.

    Attributes:
        lease: how long one that is begun is left alone; longer than BCS may take.
        max_resolutions: runs that are resolved at the same time.
        deadline: how long each phase may take.
    """

    lease: timedelta
    deadline: Deadline
    max_resolutions: int = 16


class Resolver:
    """The background task that plans waiting runs, several batches side by side.

    One that takes long, for BCS is slow, holds up none but itself.
    """

    name = "resolver"

    def __init__(
        self,
        store: RunStoreProtocol,
        questions: Questions,
        metrics: Metrics,
        clock: ClockProtocol,
        policy: ResolverPolicy,
        signals: Signals,
    ) -> None:
        self._store = store
        self._questions = questions
        self._metrics = metrics
        self._clock = clock
        self._policy = policy
        self._wakeups = signals.due
        self._in_hand: dict[str, asyncio.Task[None]] = {}  # by batch
        self._tries: dict[UUID, int] = {}

    async def run(self) -> None:
        try:
            while not self._wakeups.is_stopping:
                self._wakeups.begin_look()
                self._drop_ended()
                try:
                    # As many as are in hand may be found again, for they are not begun yet.
                    count = 2 * self._policy.max_resolutions
                    self._begin(await self._store.find_due(self._clock.now(), count))
                except TransientError as exc:
                    logger.warning("runs_not_looked_for", error=str(exc))
                await self._wakeups.rest(LOOK_SECONDS)
            await asyncio.gather(*self._in_hand.values())
        finally:
            for task in self._in_hand.values():
                task.cancel()
            await asyncio.gather(*self._in_hand.values(), return_exceptions=True)
            self._in_hand.clear()

    def stop(self) -> None:
        self._wakeups.stop()

    def _begin(self, batch_ids: Iterable[str]) -> None:
        for batch_id in batch_ids:
            if len(self._in_hand) >= self._policy.max_resolutions:
                return
            if batch_id not in self._in_hand:
                self._in_hand[batch_id] = asyncio.create_task(self._resolve_soon(batch_id))

    def _drop_ended(self) -> None:
        ended = [batch_id for batch_id, task in self._in_hand.items() if task.done()]
        for batch_id in ended:
            self._in_hand.pop(batch_id).result()

    async def _resolve_soon(self, batch_id: str) -> None:
        try:
            await self.resolve(batch_id)
        except TransientError as exc:  # its lease ends, and it is begun again
            logger.warning("run_not_resolved", batch_id=batch_id, error=str(exc))
        else:
            self._wakeups.wake()  # there is room for another

    async def resolve(self, batch_id: str) -> None:
        """Plan the next run of the batch, if there is one whose time has come.

        Raises:
            TransientError: the store cannot be reached.
        """
        async with self._store.lock(batch_id) as batch:
            before = batch.state
            state, run = resolving.begin(before, self._clock.now(), self._policy.lease)
            await batch.save(state)
        report_step(self._metrics, before, state)
        if run is None:
            return
        failpoint("bos.resolving")
        judgement = await self._questions.ask(state, run)
        failpoint("bos.resolved")
        async with self._store.lock(batch_id) as batch:
            current = batch.state.find_run(run.run_id)
            if current == run:  # else it was cancelled, or its lease has ended and another has it
                await self._settle(batch, run, judgement)

    async def _settle(
        self, batch: BatchTransactionProtocol, run: Run, judgement: Judgement
    ) -> None:
        match judgement:
            case UnknownPipeline():
                await self._reject(batch, run, RejectionReason.UNKNOWN_PIPELINE)
            case Refused(code="prerequisite_missing"):
                await self._reject(batch, run, RejectionReason.PREREQUISITE_MISSING)
            case Refused():
                # A fault of the setup, not of the run: it waits, and somebody is told.
                logger.error("bcs_refuses", status=judgement.status, code=judgement.code)
                await self._postpone(batch, run, "fault")
            case Unavailable():
                outcome = "fault" if judgement.reason in FAULTS else "postponed"
                if outcome == "fault":
                    logger.error("bcs_fails", reason=judgement.reason)
                await self._postpone(batch, run, outcome, judgement.retry_after_seconds)
            case Plan():
                if judgement.answer.degraded and not resolving.is_degraded_answer_obeyed(
                    run, self._clock.now()
                ):
                    await self._postpone(batch, run, "degraded")
                else:
                    await self._start(batch, run, judgement)

    async def _start(self, batch: BatchTransactionProtocol, run: Run, plan: Plan) -> None:
        before, now = batch.state, self._clock.now()
        state = _with_outputs(before, plan.outputs, now)
        planned = replace(run, pipeline_version=plan.answer.pipeline_version)
        step = start(state, planned, plan.phases, now, self._policy.deadline)
        failpoint("bos.planned")
        await batch.save(
            step.state, [to_outgoing(one, step.state.batch, now) for one in step.messages]
        )
        self._tries.pop(run.run_id, None)
        ended = step.state.find_run(run.run_id)
        has_nothing = ended is not None and ended.state is RunState.NOTHING_TO_DO
        self._metrics.resolutions.labels("nothing_to_do" if has_nothing else "planned").inc()
        logger.info(
            "run_planned",
            batch_id=state.batch_id,
            run_id=str(run.run_id),
            pipeline=run.pipeline,
            final_pipeline=plan.answer.final_pipeline,
            degraded=plan.answer.degraded,
        )
        report_step(self._metrics, before, step.state, step.messages)

    async def _reject(
        self, batch: BatchTransactionProtocol, run: Run, reason: RejectionReason
    ) -> None:
        before = batch.state
        await batch.save(resolving.reject(before, run, reason, self._clock.now()))
        self._tries.pop(run.run_id, None)
        self._metrics.resolutions.labels("rejected").inc()
        report_step(self._metrics, before, batch.state)

    async def _postpone(
        self,
        batch: BatchTransactionProtocol,
        run: Run,
        outcome: str,
        retry_after_seconds: float = 0,
    ) -> None:
        """Have the run wait for a better answer; `outcome` is the metric's word for this one."""
        before, now = batch.state, self._clock.now()
        tries = self._tries.get(run.run_id, 0) + 1
        pause = spread(min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(tries - 1, 10)))
        retry_at = now + timedelta(seconds=max(pause, min(retry_after_seconds, MAX_RETRY_SECONDS)))
        state = resolving.postpone(before, run, now, retry_at, is_degraded=outcome == "degraded")
        await batch.save(state)
        if state.ended_since(before):
            self._tries.pop(run.run_id, None)
        else:
            self._tries[run.run_id] = tries
        self._metrics.resolutions.labels(outcome).inc()
        logger.warning("run_postponed", run_id=str(run.run_id), outcome=outcome, tries=tries)
        report_step(self._metrics, before, state)


def _with_outputs(state: BatchState, said: Outputs, now: datetime) -> BatchState:
    """Add the texts that BCS knows to those that BOS has; BOS's own stay."""
    known = {phase: dict(made) for phase, made in state.outputs.items()}
    for phase, essays in said.items():
        if phase in texts.TEXT_PRODUCING:
            for essay, text in essays.items():
                known.setdefault(phase, {}).setdefault(essay, Output(text_id=text, made_at=now))
    return replace(state, outputs=known)

"""From a waiting run to its first command, as BCS says what of the pipeline is still to run."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import structlog

from batch_conductor_client import Refused, Unavailable, UnknownPipeline
from batch_orchestrator_service.domain import resolving
from batch_orchestrator_service.domain.advancing import Deadline, Message, start
from batch_orchestrator_service.domain.models import Run
from batch_orchestrator_service.domain.states import RejectionReason, RunState
from batch_orchestrator_service.events.messages import to_outgoing
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.protocols import BatchTransactionProtocol, RunStoreProtocol
from batch_orchestrator_service.reporting import report_step
from batch_orchestrator_service.running.asking import Judgement, Plan, Questions, with_outputs
from batch_orchestrator_service.signals import Signals
from service_libs.exceptions import TransientError
from service_libs.failpoints import failpoint
from service_libs.protocols import ClockProtocol
from service_libs.timing import spread

FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 2.5  # so that a run starts soon after BCS is back
STOP_SECONDS = 2.0  # for the answers that are awaited at the stop
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
        # While BCS is left alone, thousands of waiting runs need not hear of it one by one.
        self._quiet_until = 0.0  # monotonic seconds

    async def run(self) -> None:
        try:
            while not self._wakeups.is_stopping:
                self._wakeups.begin_look()
                self._drop_ended()
                quiet_seconds = self._quiet_until - time.monotonic()
                if quiet_seconds <= 0:
                    await self._begin_due()
                await self._wakeups.rest(quiet_seconds if quiet_seconds > 0 else LOOK_SECONDS)
            if self._in_hand:
                await asyncio.wait(self._in_hand.values(), timeout=STOP_SECONDS)
        finally:
            for task in self._in_hand.values():
                task.cancel()  # its run is released
            await asyncio.gather(*self._in_hand.values(), return_exceptions=True)
            self._in_hand.clear()

    def stop(self) -> None:
        self._wakeups.stop()

    async def _begin_due(self) -> None:
        # As many as are in hand may be found again, for they are not begun yet.
        count = 2 * self._policy.max_resolutions
        try:
            found = await self._store.find_due(self._clock.now(), count)
        except TransientError as exc:
            logger.warning("runs_not_looked_for", error=str(exc))
            return
        for batch_id in found:
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
        try:
            judgement = await self._questions.ask(state, run)
        except asyncio.CancelledError:
            await self._release(batch_id, run)
            raise
        failpoint("bos.resolved")
        messages: Sequence[Message] = ()
        async with self._store.lock(batch_id) as batch:
            before = batch.state
            if held := resolving.find_held(before, run):
                messages = await self._settle(batch, held, judgement)
        report_step(self._metrics, before, batch.state, messages)

    async def _release(self, batch_id: str, run: Run) -> None:
        try:
            async with self._store.lock(batch_id) as batch:
                await batch.save(resolving.release(batch.state, run, self._clock.now()))
        except TransientError as exc:  # its lease ends
            logger.warning("run_not_released", batch_id=batch_id, error=str(exc))

    async def _settle(
        self, batch: BatchTransactionProtocol, run: Run, judgement: Judgement
    ) -> Sequence[Message]:
        """Save what becomes of the run; return what is to be sent."""
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
                await self._wait_for_bcs(batch, run, judgement)
            case Plan():
                if judgement.answer.degraded and not resolving.is_degraded_answer_obeyed(
                    run, self._clock.now()
                ):
                    await self._postpone(batch, run, "degraded")
                else:
                    return await self._start(batch, run, judgement)
        return ()

    async def _wait_for_bcs(
        self, batch: BatchTransactionProtocol, run: Run, judgement: Unavailable
    ) -> None:
        outcome = "fault" if judgement.reason in FAULTS else "postponed"
        if outcome == "fault":
            logger.error("bcs_fails", reason=judgement.reason)
        if judgement.reason == "not_asked":
            self._quiet_until = time.monotonic() + judgement.retry_after_seconds
        await self._postpone(batch, run, outcome, judgement.retry_after_seconds)

    async def _start(
        self, batch: BatchTransactionProtocol, run: Run, plan: Plan
    ) -> Sequence[Message]:
        now = self._clock.now()
        state = with_outputs(batch.state, plan.outputs, now)
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
        return step.messages

    async def _reject(
        self, batch: BatchTransactionProtocol, run: Run, reason: RejectionReason
    ) -> None:
        await batch.save(resolving.reject(batch.state, run, reason, self._clock.now()))
        self._tries.pop(run.run_id, None)
        self._metrics.resolutions.labels("rejected").inc()

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

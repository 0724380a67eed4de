"""From a waiting run to its first command: BCS is asked what of the pipeline is still to run.

BCS decides what runs; what BOS remembers never overrules "run".
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from time import perf_counter
from uuid import UUID

import structlog

from batch_conductor_client import (
    BatchConductorClientProtocol,
    BatchKnown,
    BatchUnknown,
    NothingToDo,
    Refused,
    ResolutionOutcome,
    Resolved,
    Unavailable,
    UnknownPipeline,
)
from batch_orchestrator_service.domain import resolving, texts
from batch_orchestrator_service.domain.advancing import Completion, start
from batch_orchestrator_service.domain.models import BatchState, Output, Run
from batch_orchestrator_service.domain.states import RejectionReason
from batch_orchestrator_service.events.messages import to_outgoing
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.protocols import BatchTransactionProtocol, RunStoreProtocol
from batch_orchestrator_service.running.planning import Planner
from common_core.define import ESSAYS, BatchMetadata, DefineRequest, DefineResponse
from service_libs.exceptions import TransientError
from service_libs.failpoints import failpoint
from service_libs.protocols import ClockProtocol
from service_libs.timing import Wakeups, spread

DEGRADED_PATIENCE = timedelta(seconds=60)  # for a better answer than one that doubts
FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 2.5  # so that a run starts soon after BCS is back
LOOK_SECONDS = 1.0  # between two looks for runs, where nobody wakes it
MARGIN_SECONDS = 10  # of a lease, beyond the time that BCS may take
RUNS_AT_A_LOOK = 100

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolverPolicy:
    """How BCS is asked.

    Attributes:
        bcs_timeout_seconds: longest wait for its answer, all tries together.
        max_resolutions: runs that are resolved at the same time.
    """

    bcs_timeout_seconds: float = 30
    max_resolutions: int = 16


class Resolver:
    """The background task that plans waiting runs, several batches side by side."""

    name = "resolver"

    def __init__(
        self,
        store: RunStoreProtocol,
        bcs: BatchConductorClientProtocol,
        planner: Planner,
        metrics: Metrics,
        clock: ClockProtocol,
        policy: ResolverPolicy,
    ) -> None:
        self._store = store
        self._bcs = bcs
        self._planner = planner
        self._metrics = metrics
        self._clock = clock
        self._policy = policy
        self._lease = timedelta(seconds=self._policy.bcs_timeout_seconds + MARGIN_SECONDS)
        self._tries: dict[UUID, int] = {}
        self.wakeups = Wakeups()

    async def run(self) -> None:
        while not self.wakeups.is_stopping:
            try:
                found = await self._store.find_due(self._clock.now(), RUNS_AT_A_LOOK)
                await self._resolve_all(found)
            except TransientError as exc:
                logger.warning("runs_not_looked_for", error=str(exc))
                found = []
            if not found:
                await self.wakeups.wait(LOOK_SECONDS)

    def stop(self) -> None:
        self.wakeups.stop()

    async def _resolve_all(self, batch_ids: Sequence[str]) -> None:
        at_a_time = asyncio.Semaphore(self._policy.max_resolutions)

        async def resolve(batch_id: str) -> None:
            async with at_a_time:
                try:
                    await self.resolve(batch_id)
                except TransientError as exc:  # its lease ends, and it is begun again
                    logger.warning("run_not_resolved", batch_id=batch_id, error=str(exc))

        await asyncio.gather(*map(resolve, batch_ids))

    async def resolve(self, batch_id: str) -> None:
        """Plan the next run of the batch, if there is one whose time has come.

        Raises:
            TransientError: the store cannot be reached.
        """
        async with self._store.lock(batch_id) as batch:
            state, run = resolving.begin(batch.state, self._clock.now(), self._lease)
            await batch.save(state)
        if run is None:
            return
        failpoint("bos.resolving")
        outcome = await self._ask(state, run)
        if isinstance(outcome, Resolved | NothingToDo) and not self._planner.knows(outcome.answer):
            logger.error("pipeline_files_differ", phases=[p.name for p in outcome.answer.phases])
            outcome = Unavailable(reason="pipeline_files_differ", retry_after_seconds=0)
        outputs = await self._fetch_outputs(state, run, outcome)
        failpoint("bos.resolved")
        async with self._store.lock(batch_id) as batch:
            current = batch.state.find_run(run.run_id)
            if current == run:  # else it was cancelled, or its lease has ended and another has it
                await self._settle(batch, run, outcome, outputs)

    async def _ask(self, state: BatchState, run: Run) -> ResolutionOutcome:
        began = perf_counter()
        question = DefineRequest(
            batch_id=state.batch_id,
            requested_pipeline=run.pipeline,
            correlation_id=str(run.correlation_id),
            batch_metadata=BatchMetadata(
                essays_total=max(state.batch.expected, len(state.batch.texts)) or None
            ),
            not_before=state.outcome_at,
            include=(ESSAYS,),
        )
        timeout = self._policy.bcs_timeout_seconds
        outcome = await self._bcs.resolve(question, deadline_seconds=timeout)
        self._metrics.resolution_duration.observe(perf_counter() - began)
        return outcome

    async def _fetch_outputs(
        self, state: BatchState, run: Run, outcome: ResolutionOutcome
    ) -> Mapping[str, Mapping[str, str]] | Unavailable:
        """Return the texts that BCS knows, where BOS lacks one that the plan needs."""
        if not isinstance(outcome, Resolved):
            return {}
        if not texts.lacks_texts(state, self._planner.plan(run, outcome.answer)):
            return {}
        known = await self._bcs.get_batch(
            state.batch_id,
            correlation_id=str(run.correlation_id),
            deadline_seconds=self._policy.bcs_timeout_seconds,
        )
        match known:
            case BatchKnown():
                return known.batch.outputs
            case BatchUnknown():
                return {}
            case Refused():
                return Unavailable(reason=known.code, retry_after_seconds=0)
        return known

    async def _settle(
        self,
        batch: BatchTransactionProtocol,
        run: Run,
        outcome: ResolutionOutcome,
        outputs: Mapping[str, Mapping[str, str]] | Unavailable,
    ) -> None:
        match outcome:
            case UnknownPipeline():
                await self._reject(batch, run, RejectionReason.UNKNOWN_PIPELINE)
            case Refused(code="prerequisite_missing"):
                await self._reject(batch, run, RejectionReason.PREREQUISITE_MISSING)
            case Refused():
                # A fault of the setup, not of the run: it waits, and somebody is told.
                logger.error(
                    "bcs_refuses", status=outcome.status, code=outcome.code, detail=outcome.detail
                )
                await self._postpone(batch, run, 0)
            case Unavailable():
                await self._postpone(batch, run, outcome.retry_after_seconds)
            case Resolved() | NothingToDo():
                if isinstance(outputs, Unavailable):
                    await self._postpone(batch, run, outputs.retry_after_seconds)
                elif outcome.answer.degraded and not self._has_waited_long(run):
                    await self._postpone(batch, run, 0)
                else:
                    await self._start(batch, run, outcome.answer, outputs)

    async def _start(
        self,
        batch: BatchTransactionProtocol,
        run: Run,
        answer: DefineResponse,
        outputs: Mapping[str, Mapping[str, str]],
    ) -> None:
        now = self._clock.now()
        state = _with_outputs(batch.state, outputs, self._clock)
        planned = replace(run, pipeline_version=answer.pipeline_version)
        step = start(state, planned, self._planner.plan(run, answer), now, self._planner.deadline)
        failpoint("bos.planned")
        await batch.save(
            step.state, [to_outgoing(one, step.state.batch, now) for one in step.messages]
        )
        self._tries.pop(run.run_id, None)
        ends = [one for one in step.messages if isinstance(one, Completion)]
        for end in ends:
            self._metrics.runs_ended.labels(end.run.state.value).inc()
        self._metrics.resolutions.labels("nothing_to_do" if ends else "planned").inc()
        logger.info(
            "run_planned",
            batch_id=state.batch_id,
            run_id=str(run.run_id),
            pipeline=run.pipeline,
            final_pipeline=answer.final_pipeline,
            degraded=answer.degraded,
        )

    async def _reject(
        self, batch: BatchTransactionProtocol, run: Run, reason: RejectionReason
    ) -> None:
        await batch.save(resolving.reject(batch.state, run, reason, self._clock.now()))
        self._metrics.resolutions.labels("rejected").inc()
        logger.warning("run_rejected", run_id=str(run.run_id), reason=reason.value)

    async def _postpone(
        self, batch: BatchTransactionProtocol, run: Run, retry_after_seconds: float
    ) -> None:
        tries = self._tries[run.run_id] = self._tries.get(run.run_id, 0) + 1
        pause = spread(min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(tries - 1, 10)))
        now = self._clock.now()
        retry_at = now + timedelta(seconds=max(pause, min(retry_after_seconds, MAX_RETRY_SECONDS)))
        await batch.save(resolving.postpone(batch.state, run, now, retry_at))
        self._metrics.resolutions.labels("postponed").inc()
        logger.warning("run_postponed", run_id=str(run.run_id), tries=tries)

    def _has_waited_long(self, run: Run) -> bool:
        began = run.tried_at or self._clock.now()
        return self._clock.now() >= began + DEGRADED_PATIENCE


def _with_outputs(
    state: BatchState, said: Mapping[str, Mapping[str, str]], clock: ClockProtocol
) -> BatchState:
    """Add the texts that BCS knows to those that BOS has; BOS's own stay."""
    known = {phase: dict(made) for phase, made in state.outputs.items()}
    for phase, essays in said.items():
        if phase in texts.TEXT_PRODUCING:
            for essay, text in essays.items():
                made = Output(text_id=text, made_at=clock.now())
                known.setdefault(phase, {}).setdefault(essay, made)
    return replace(state, outputs=known)

"""What BCS is asked about a run, and what its answers come to: a plan, a refusal, or a wait.

BCS decides what runs; what BOS remembers never overrules "run".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import perf_counter

import structlog

from batch_conductor_client import (
    BatchConductorClientProtocol,
    BatchKnown,
    BatchUnknown,
    NothingToDo,
    Refused,
    Resolved,
    Unavailable,
    UnknownPipeline,
)
from batch_orchestrator_service.domain import texts
from batch_orchestrator_service.domain.models import BatchState, Output, Phase, Run
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.running.planning import Planner
from common_core.define import ESSAYS, BatchMetadata, DefineRequest, DefineResponse

Outputs = Mapping[str, Mapping[str, str]]  # step -> essay -> text

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to run, with the texts that only BCS knows."""

    answer: DefineResponse
    phases: Sequence[Phase]
    outputs: Outputs = field(default_factory=dict)


Judgement = Plan | UnknownPipeline | Refused | Unavailable


class Questions:
    """Asks BCS, each time within the same deadline."""

    def __init__(
        self,
        bcs: BatchConductorClientProtocol,
        planner: Planner,
        metrics: Metrics,
        timeout_seconds: float,
    ) -> None:
        self._bcs = bcs
        self._planner = planner
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds

    async def ask(self, state: BatchState, run: Run) -> Judgement:
        """Return what is to become of the run."""
        began = perf_counter()
        outcome = await self._bcs.resolve(
            _question(state, run), deadline_seconds=self._timeout_seconds
        )
        self._metrics.resolution_duration.observe(perf_counter() - began)
        if not isinstance(outcome, Resolved | NothingToDo):
            return outcome
        answer = outcome.answer
        if not self._planner.knows(answer):
            logger.error("pipeline_files_differ", phases=[phase.name for phase in answer.phases])
            return Unavailable(reason="pipeline_files_differ", retry_after_seconds=0)
        phases = self._planner.plan(run, answer)
        if not texts.lacks_texts(state, phases):
            return Plan(answer=answer, phases=phases)
        outputs = await self._fetch_outputs(state, run)
        if isinstance(outputs, Unavailable | Refused):
            return outputs
        return Plan(answer=answer, phases=phases, outputs=outputs)

    async def _fetch_outputs(self, state: BatchState, run: Run) -> Outputs | Refused | Unavailable:
        known = await self._bcs.get_batch(
            state.batch_id,
            correlation_id=str(run.correlation_id),
            deadline_seconds=self._timeout_seconds,
        )
        match known:
            case BatchKnown() if known.batch.degraded:
                # They may be older than those by which BCS has judged, or lack some.
                return Unavailable(reason="texts_in_doubt", retry_after_seconds=0)
            case BatchKnown():
                return known.batch.outputs
            case BatchUnknown():
                return {}
        return known


def with_outputs(state: BatchState, said: Outputs, now: datetime) -> BatchState:
    """Add the texts that BCS knows to those that BOS has; BOS's own stay."""
    known = {phase: dict(made) for phase, made in state.outputs.items()}
    for phase, essays in said.items():
        if phase in texts.TEXT_PRODUCING:
            for essay, text in essays.items():
                known.setdefault(phase, {}).setdefault(essay, Output(text_id=text, made_at=now))
    return replace(state, outputs=known)


def _question(state: BatchState, run: Run) -> DefineRequest:
    return DefineRequest(
        batch_id=state.batch_id,
        requested_pipeline=run.pipeline,
        correlation_id=str(run.correlation_id),
        batch_metadata=BatchMetadata(
            essays_total=max(state.batch.expected, len(state.batch.texts)) or None
        ),
        not_before=state.outcome_at,
        include=(ESSAYS,),
    )

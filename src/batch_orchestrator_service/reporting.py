"""What a step over a batch is told of: the log, and the metrics that count ends."""

from collections.abc import Iterable

import structlog

from batch_orchestrator_service.domain.advancing import Command, Message
from batch_orchestrator_service.domain.models import BatchState
from batch_orchestrator_service.domain.states import RunState
from batch_orchestrator_service.metrics import Metrics

MAX_NAMED_ESSAYS = 50  # in a line of the log; the store has all

logger = structlog.get_logger(__name__)


def report_step(
    metrics: Metrics, before: BatchState, after: BatchState, messages: Iterable[Message] = ()
) -> None:
    """Count and log the runs that have ended, and name the essays that a command leaves out."""
    for run in after.ended_since(before):
        metrics.runs_ended.labels(run.state.value).inc()
        log = logger.warning if run.state is RunState.REJECTED else logger.info
        log(
            "run_ended",
            batch_id=after.batch_id,
            run_id=str(run.run_id),
            pipeline=run.pipeline,
            state=run.state.value,
            reason=run.reason,
        )
    for message in messages:
        if isinstance(message, Command) and message.phase.left_out:
            logger.warning(
                "essays_left_out",
                batch_id=after.batch_id,
                run_id=str(message.run.run_id),
                phase=message.phase.name,
                count=len(message.phase.left_out),
                essay_ids=message.phase.left_out[:MAX_NAMED_ESSAYS],
            )

"""What a person may do with a run: have a command sent again as it was, or end the run."""

from uuid import UUID

import structlog

from batch_orchestrator_service.domain import identity
from batch_orchestrator_service.domain.advancing import cancel
from batch_orchestrator_service.domain.models import BatchState, Run
from batch_orchestrator_service.events.messages import to_outgoing
from batch_orchestrator_service.exceptions import (
    NothingToResendError,
    RunHasEndedError,
    UnknownRunError,
)
from batch_orchestrator_service.protocols import OperatorAction, OperatorEntry, RunStoreProtocol
from service_libs.protocols import ClockProtocol

logger = structlog.get_logger(__name__)


class RunCommands:
    """Acts on single runs, beside a service that runs. What is done stands in the audit."""

    def __init__(self, store: RunStoreProtocol, clock: ClockProtocol) -> None:
        self._store = store
        self._clock = clock

    async def find(self, run_id: UUID) -> tuple[str, Run]:
        """Return the run, and its batch.

        Raises:
            UnknownRunError: there is none.
        """
        batch_id = await self._store.find_run(run_id)
        state = await self._store.find_state(batch_id) if batch_id else None
        run = state.find_run(run_id) if state else None
        if batch_id is None or run is None:
            raise UnknownRunError
        return batch_id, run

    async def resend(self, run_id: UUID, phase: str, operator: str) -> None:
        """Have the command of a phase that is awaited sent again: the same bytes, the same id.

        Raises:
            UnknownRunError: there is no such run.
            NothingToResendError: the phase is not awaited.
        """
        batch_id, _ = await self.find(run_id)
        # Under the lock no outcome ends the phase meanwhile: what is done is not asked for again.
        async with self._store.lock(batch_id) as batch:
            run = _run_of(batch.state, run_id)
            current = run.current
            if current is None or current.name != phase:
                raise NothingToResendError
            if not await batch.resend(identity.command_id(run_id, phase)):
                raise NothingToResendError
            entry = OperatorEntry(
                operator=operator,
                batch_id=batch_id,
                run=run,
                action=OperatorAction.RESENT,
                phase=phase,
            )
            await batch.save(batch.state, audit=[entry])
        logger.info("command_resent", run_id=str(run_id), phase=phase, operator=operator)

    async def cancel(self, run_id: UUID, operator: str) -> Run:
        """End the run; return it as it is then.

        Raises:
            UnknownRunError: there is no such run.
            RunHasEndedError: it has ended by itself.
        """
        batch_id, _ = await self.find(run_id)
        async with self._store.lock(batch_id) as batch:
            run = _run_of(batch.state, run_id)
            if run.state.has_ended:
                raise RunHasEndedError
            now = self._clock.now()
            step = cancel(batch.state, run, now)
            messages = [to_outgoing(one, step.state.batch, now) for one in step.messages]
            entry = OperatorEntry(
                operator=operator, batch_id=batch_id, run=run, action=OperatorAction.CANCELLED
            )
            await batch.withdraw_commands(run_id)
            await batch.save(step.state, messages, audit=[entry])
        logger.info("run_cancelled", run_id=str(run_id), batch_id=batch_id, operator=operator)
        return step.state.find_run(run_id) or run


def _run_of(state: BatchState, run_id: UUID) -> Run:
    run = state.find_run(run_id)
    if run is None:  # the retention was quicker
        raise UnknownRunError
    return run

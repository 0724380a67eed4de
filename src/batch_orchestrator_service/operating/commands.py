"""What a person may do with a run: have a command sent again as it was, or end the run."""

from uuid import UUID

import structlog

from batch_orchestrator_service.domain import identity
from batch_orchestrator_service.domain.advancing import cancel
from batch_orchestrator_service.domain.models import Run
from batch_orchestrator_service.events.messages import to_outgoing
from batch_orchestrator_service.exceptions import (
    NothingToResendError,
    RunHasEndedError,
    UnknownRunError,
)
from batch_orchestrator_service.protocols import OutboxProtocol, RunStoreProtocol
from service_libs.protocols import ClockProtocol

logger = structlog.get_logger(__name__)


class RunCommands:
    """Acts on single runs, beside a service that runs."""

    def __init__(
        self, store: RunStoreProtocol, outbox: OutboxProtocol, clock: ClockProtocol
    ) -> None:
        self._store = store
        self._outbox = outbox
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

    async def resend(self, run_id: UUID, phase: str) -> None:
        """Have the command of a phase that is awaited sent again: the same bytes, the same id.

        Raises:
            UnknownRunError: there is no such run.
            NothingToResendError: the phase is not awaited.
        """
        batch_id, _ = await self.find(run_id)
        # Under the lock no outcome ends the phase meanwhile: what is done is not asked for again.
        async with self._store.lock(batch_id) as batch:
            run = batch.state.find_run(run_id)
            current = run.current if run else None
            if current is None or current.name != phase:
                raise NothingToResendError
            if not await self._outbox.resend(identity.command_id(run_id, phase)):
                raise NothingToResendError
        logger.info("command_resent", run_id=str(run_id), phase=phase)

    async def cancel(self, run_id: UUID) -> Run:
        """End the run; return it as it is then.

        Raises:
            UnknownRunError: there is no such run.
            RunHasEndedError: it has ended by itself.
        """
        batch_id, _ = await self.find(run_id)
        async with self._store.lock(batch_id) as batch:
            run = batch.state.find_run(run_id)
            if run is None:
                raise UnknownRunError
            if run.state.has_ended:
                raise RunHasEndedError
            now = self._clock.now()
            step = cancel(batch.state, run, now)
            messages = [to_outgoing(one, step.state.batch, now) for one in step.messages]
            await batch.withdraw_commands(run_id)
            await batch.save(step.state, messages)
        logger.info("run_cancelled", run_id=str(run_id), batch_id=batch_id)
        return step.state.find_run(run_id) or run

"""Whose batch it is: BOS knows, and a yes is remembered for a minute.

A stranger learns no more of another's batch than of one that does not exist: the same answer, after
the same question and the same time, for BOS reads longer of a batch that it knows.
"""

import asyncio

from cachetools import TTLCache

from api_gateway_service.exceptions import OrchestratorUnavailableError, UnknownBatchError
from api_gateway_service.models.values import KnownBatch, Principal, StatusView
from api_gateway_service.protocols import BatchStatesProtocol

OWNERSHIP_SECONDS = 0.3  # for which a request for a pipeline waits for BOS
STATUS_SECONDS = 2.0  # for which one for a status does
REFUSAL_SECONDS = 0.1  # from the question to a refusal, however soon BOS has answered
REMEMBERED_SECONDS = 60
MAX_REMEMBERED = 50_000


class BatchAccess:
    """Lets owners, and nobody else, at their batches."""

    def __init__(self, states: BatchStatesProtocol) -> None:
        self._states = states
        self._owners: TTLCache[tuple[str, str], bool] = TTLCache(MAX_REMEMBERED, REMEMBERED_SECONDS)

    async def check_owner(self, batch_id: str, principal: Principal) -> None:
        """Return if the batch is the caller's, or if BOS cannot say: it decides again itself.

        Raises:
            UnknownBatchError: it is not.
        """
        if (principal.user_id, batch_id) in self._owners:
            return
        try:
            await self._find_own(batch_id, principal, deadline_seconds=OWNERSHIP_SECONDS)
        except OrchestratorUnavailableError:
            return

    async def read_own(self, batch_id: str, principal: Principal) -> StatusView:
        """Return the status of the caller's batch.

        Raises:
            UnknownBatchError: it is unknown, or not the caller's.
            OrchestratorUnavailableError: BOS cannot say in time, or says what we do not know.
        """
        batch = await self._find_own(batch_id, principal, deadline_seconds=STATUS_SECONDS)
        if batch.view is None:
            raise OrchestratorUnavailableError
        return batch.view

    async def _find_own(
        self, batch_id: str, principal: Principal, *, deadline_seconds: float
    ) -> KnownBatch:
        refusal_at = asyncio.get_running_loop().time() + REFUSAL_SECONDS
        batch = await self._states.find_batch(batch_id, deadline_seconds=deadline_seconds)
        owner = (principal.user_id, batch_id)
        if batch is None or batch.user_id != principal.user_id:
            self._owners.pop(owner, None)
            await asyncio.sleep(refusal_at - asyncio.get_running_loop().time())
            raise UnknownBatchError
        self._owners[owner] = True
        return batch

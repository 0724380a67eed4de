"""The port of whoever asks BCS."""

from typing import Protocol

from batch_conductor_client.outcomes import BatchOutcome, ResolutionOutcome
from common_core.define import DefineRequest


class BatchConductorClientProtocol(Protocol):
    """BCS, asked within a deadline. Neither method raises; a caller may cancel it at any time."""

    async def resolve(
        self, request: DefineRequest, *, deadline_seconds: float
    ) -> ResolutionOutcome:
        """Ask which phases of a pipeline are still to run.

        What may help is tried again until the deadline: a connection that fails, an answer that
        does not come, a 503. The question changes nothing, so asking twice does no harm.
        """
        ...

    async def get_batch(
        self, batch_id: str, *, correlation_id: str, deadline_seconds: float
    ) -> BatchOutcome:
        """Ask what is known of a batch, in the same manner."""
        ...

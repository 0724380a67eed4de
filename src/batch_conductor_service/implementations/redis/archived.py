"""What Postgres says of batches, asked once for a whole transaction."""

from collections.abc import Sequence

from batch_conductor_service.breakers import CircuitBreakers
from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.exceptions import TransientError
from batch_conductor_service.implementations.redis.readings import BatchReading
from batch_conductor_service.models import BatchId
from batch_conductor_service.protocols import BatchStateArchiveProtocol


class Archived:
    """What the archive has of some batches; each is loaded once, however often it is asked for."""

    def __init__(
        self, archive: BatchStateArchiveProtocol | None, breakers: CircuitBreakers
    ) -> None:
        self._archive = archive
        self._breakers = breakers
        self._states: dict[BatchId, BatchState] = {}
        self._heard: set[BatchId] = set()

    async def load(self, batch_ids: Sequence[BatchId]) -> None:
        """Load the batches that were not loaded yet; none if the archive cannot be reached."""
        archive, missing = self._archive, [b for b in batch_ids if b not in self._heard]
        if archive is None or not missing:
            return
        try:
            self._states |= await self._breakers.call(
                "postgresql", lambda: archive.load_states(missing)
            )
        except TransientError:
            return
        self._heard.update(missing)

    def find(self, batch_id: BatchId) -> BatchState | None:
        """Return what the archive has of the batch."""
        return self._states.get(batch_id)

    def was_heard(self, batch_id: BatchId) -> bool:
        """Whether the archive told all it has of the batch."""
        return batch_id in self._heard

    def completes(self, reading: BatchReading) -> bool:
        """Whether nothing can be missing of a batch that is not intact in Redis.

        Without an archive that is so only for a batch without a summary: one that is new, or of an
        earlier version. Of any other a part is lost for good.
        """
        return self.was_heard(reading.batch_id) if self._archive else not reading.fields

"""What a running consumer does when it is asked to read partitions again."""

import structlog

from batch_conductor_service.consuming.durability import DurabilityTracker
from batch_conductor_service.protocols import ReplayRequestsProtocol
from common_core.records import Partition
from service_libs.protocols import RecordSourceProtocol

logger = structlog.get_logger(__name__)


class Rewinder:
    """Obeys a request once for each partition that this consumer owns.

    The earlier offset is committed before anything is read again, so a crash goes on from there; it
    is never later than the committed one, so nothing can be skipped. Only then is the request
    settled: whoever owns the partition next obeys what this consumer could not.
    """

    def __init__(self, requests: ReplayRequestsProtocol, tracker: DurabilityTracker) -> None:
        self._requests = requests
        self._tracker = tracker
        self._rewound: tuple[str, set[Partition]] = ("", set())

    async def answer(self, source: RecordSourceProtocol) -> None:
        """Look for a request, and obey it.

        Raises:
            PartitionsLostError: a rebalance came in between; the next owner obeys.
            TransientError: the request or the broker cannot be asked.
        """
        request = await self._requests.find()
        if request is None:
            return
        if self._rewound[0] != request.request_id:
            self._rewound = (request.request_id, set())
        mine = {p: offset for p, offset in request.offsets.items() if source.is_assigned(p)}
        for partition in mine.keys() - self._rewound[1]:
            await self._rewind(source, partition, mine[partition])
            self._rewound[1].add(partition)
        if mine:
            await self._requests.settle(request.request_id, list(mine))

    async def _rewind(
        self, source: RecordSourceProtocol, partition: Partition, offset: int
    ) -> None:
        committed = await source.get_committed(partition)
        if committed is None:  # then all of it is read again anyway, whenever one starts anew
            return
        # Also where nothing is to be moved: an earlier try may have committed, and not been told.
        point = {partition: min(offset, committed)}
        await source.commit(point)
        # What is in flight stays queued for Postgres, but will be read, and so noted, once more.
        self._tracker.forget(point)
        source.rewind(point)
        logger.info(
            "partition_rewound",
            topic=partition[0],
            partition=partition[1],
            offset=offset,
            committed=committed,
        )

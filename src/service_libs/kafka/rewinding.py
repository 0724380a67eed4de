"""Reading again what a person asks for, while the consumer runs."""

from collections.abc import Callable, Mapping

import structlog

from common_core.records import Partition
from service_libs.protocols import RecordSourceProtocol, ReplayRequestsProtocol

logger = structlog.get_logger(__name__)


class Rewinder:
    """Carries a request to read again out, once for each partition that this consumer owns.

    The earlier offset is committed before anything is read again, so a crash goes on from there; it
    is never later than the committed one, so nothing can be skipped. Only then is the request
    settled: whoever owns the partition next carries out what this consumer could not.
    """

    def __init__(
        self,
        requests: ReplayRequestsProtocol,
        forget: Callable[[Mapping[Partition, int]], None],
    ) -> None:
        """Make one that tells `forget` of what is in flight and will be read once more."""
        self._requests = requests
        self._forget = forget
        self._rewound: tuple[str, set[Partition]] = ("", set())

    async def answer(self, source: RecordSourceProtocol) -> None:
        """Look for a request, and carry it out.

        Raises:
            PartitionsLostError: a rebalance came in between; the next owner carries it out.
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
        if committed is None:  # then all of it is read again anyway, whenever one starts
            return
        # Also where nothing is to be moved: an earlier try may have committed without
        # an acknowledgement.
        point = {partition: min(offset, committed)}
        await source.commit(point)
        # What is in flight may stay queued for a store, but will be read, and so noted, once more.
        self._forget(point)
        source.rewind(point)
        logger.info(
            "partition_rewound",
            topic=partition[0],
            partition=partition[1],
            offset=offset,
            committed=committed,
        )

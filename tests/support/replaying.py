"""Requests to read again, in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from common_core.records import Partition
from service_libs.exceptions import StoreUnavailableError
from service_libs.kafka.records import ReplayRequest


class MemoryReplayRequests:
    """`ReplayRequestsProtocol`; cannot settle the next times, as its `failures` says."""

    def __init__(self) -> None:
        self.request: ReplayRequest | None = None
        self.failures = 0

    async def submit(self, offsets: Mapping[Partition, int]) -> str:
        self.request = ReplayRequest(request_id="request", offsets=offsets)
        return "request"

    async def find(self) -> ReplayRequest | None:
        return self.request

    async def settle(self, request_id: str, partitions: Sequence[Partition]) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError
        if self.request and self.request.request_id == request_id:
            left = {p: o for p, o in self.request.offsets.items() if p not in partitions}
            settled = self.request.settled | set(partitions)
            self.request = replace(self.request, offsets=left, settled=settled)

    @property
    def waiting(self) -> set[Partition]:
        """The partitions that nobody has rewound."""
        return set(self.request.offsets) if self.request else set()

"""Live updates: BOS is asked once a batch, however many listen, and each hears what is newest.

Nothing queues up for one who reads slowly: he gets the latest status when he is ready for it.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from api_gateway_service.exceptions import (
    OrchestratorUnavailableError,
    TooManyStreamsError,
)
from api_gateway_service.models.values import KnownBatch, Principal, StatusView
from api_gateway_service.protocols import BatchStatesProtocol
from service_libs.timing import Backoff, spread

POLL_SECONDS = 1.0  # between questions about a batch
MAX_BACKOFF_SECONDS = 10  # while BOS is away
QUESTION_SECONDS = 2.0
STREAMS_A_USER = 5
RETRY_SECONDS = 5  # after which one more stream may be tried


class Listener:
    """One who hears of a batch, as long as it is his.

    Attributes:
        is_over: whether he will hear nothing more.
    """

    def __init__(self, user_id: str) -> None:
        self._user_id = user_id
        self._view: StatusView | None = None
        self._changed = asyncio.Event()
        self.is_over = False

    def tell(self, batch: KnownBatch | None) -> None:
        """Hear how the batch is; None, or another owner, ends it."""
        if batch is None or batch.user_id != self._user_id:
            self.end()
        elif batch.view is not None:  # of what we do not know the next may be clearer
            self._view = batch.view
            self._changed.set()

    def end(self) -> None:
        """Hear nothing more."""
        self.is_over = True
        self._changed.set()

    async def next_view(self) -> StatusView | None:
        """Wait for news; return the latest status, or None at the end."""
        await self._changed.wait()
        self._changed.clear()
        return None if self.is_over else self._view


class _Feed:
    """All who listen to one batch, and the task that asks for them."""

    def __init__(self, batch_id: str, states: BatchStatesProtocol) -> None:
        self._batch_id = batch_id
        self._states = states
        self._latest: KnownBatch | None = None
        self.listeners: set[Listener] = set()
        self._asking = asyncio.create_task(self._ask(), name="status feed")

    def add(self, listener: Listener) -> None:
        self.listeners.add(listener)
        if self._latest is not None:
            listener.tell(self._latest)

    def close(self) -> None:
        self._asking.cancel()

    async def _ask(self) -> None:
        """Ask again and again; should that ever end, whoever listens is to ask for a new stream."""
        try:
            await self._ask_for_ever()
        finally:
            for listener in self.listeners:
                listener.end()

    async def _ask_for_ever(self) -> None:
        backoff = Backoff(MAX_BACKOFF_SECONDS)
        while True:
            try:
                batch = await self._states.find_batch(
                    self._batch_id, deadline_seconds=QUESTION_SECONDS
                )
            except OrchestratorUnavailableError:
                await asyncio.sleep(backoff.next_delay())
                continue
            backoff.reset()
            self._tell(batch)
            await asyncio.sleep(spread(POLL_SECONDS))

    def _tell(self, batch: KnownBatch | None) -> None:
        if batch is not None and batch == self._latest:
            return
        self._latest = batch
        for listener in list(self.listeners):
            listener.tell(batch)


class StatusFeeds:
    """The feeds of all batches that somebody listens to."""

    def __init__(self, states: BatchStatesProtocol) -> None:
        self._states = states
        self._feeds: dict[str, _Feed] = {}
        self._streams: Counter[str] = Counter()
        self._is_ending = False

    @contextmanager
    def listening(self, batch_id: str, principal: Principal) -> Iterator[Listener]:
        """Hear of the batch until the end of the block.

        Raises:
            TooManyStreamsError: the user listens often enough already.
        """
        user_id = principal.user_id
        if self._streams[user_id] >= STREAMS_A_USER:
            raise TooManyStreamsError(RETRY_SECONDS)
        self._streams[user_id] += 1
        listener = Listener(user_id)
        if self._is_ending:
            listener.end()
        feed = self._feeds.get(batch_id)
        if feed is None:
            feed = self._feeds[batch_id] = _Feed(batch_id, self._states)
        feed.add(listener)
        try:
            yield listener
        finally:
            self._leave(batch_id, user_id, listener)

    def end_all(self) -> None:
        """End every stream, and each that begins from now on: the service stops."""
        self._is_ending = True
        for feed in self._feeds.values():
            for listener in feed.listeners:
                listener.end()

    @property
    def count(self) -> int:
        """How many streams are open."""
        return self._streams.total()

    def _leave(self, batch_id: str, user_id: str, listener: Listener) -> None:
        self._streams[user_id] -= 1
        if not self._streams[user_id]:
            del self._streams[user_id]
        feed = self._feeds[batch_id]
        feed.listeners.discard(listener)
        if not feed.listeners:
            feed.close()
            del self._feeds[batch_id]

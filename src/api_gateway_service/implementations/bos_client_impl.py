"""BOS over HTTP: bounded, asked once for those who ask at the same time, left alone when it fails.

An answer is believed only if it is one, of this batch. Nobody is shown anything else. What is still
as it was is neither sent again nor read again.
"""

import asyncio
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from time import perf_counter
from urllib.parse import quote

import structlog
from cachetools import LRUCache
from prometheus_client import Histogram
from pydantic import ValidationError

from api_gateway_service.exceptions import OrchestratorUnavailableError
from api_gateway_service.metrics import Metrics
from api_gateway_service.models.values import KnownBatch
from api_gateway_service.services.status_views import to_batch
from common_core.pipeline_state import PipelineState
from common_core.problem import Problem
from service_libs.breakers import Breaker
from service_libs.exceptions import StoreUnavailableError
from service_libs.http.origin import HttpOrigin

TRY_SECONDS = 2.0  # of a question, however many wait for it
OPEN_SECONDS = 1.0  # of the breaker
MAX_KEPT = 2_000  # batches, of which the last answer is kept
UNKNOWN_BATCH = "unknown_batch"
DOTS = frozenset({".", ".."})  # as part of a path they lead elsewhere; no batch has such an id
PATH = "/internal/v1/batches/{batch_id}/pipeline-state"

logger = structlog.get_logger(__name__)


class BosClient:
    """`BatchStatesProtocol` over HTTP, and the probe of BOS; whoever made the origin closes it.

    Requests for a batch that is being asked for already wait for the same answer.
    """

    name = "bos"

    def __init__(self, origin: HttpOrigin, metrics: Metrics) -> None:
        self._origin = origin
        self._breaker_state = metrics.circuit_breaker_state.labels("bos")
        self._durations: Callable[[str], Histogram] = cache(
            lambda outcome: metrics.downstream_duration.labels("bos", outcome)
        )
        self._breaker = Breaker("bos", TRY_SECONDS, open_seconds=OPEN_SECONDS)
        self._asking: dict[str, asyncio.Task[KnownBatch | None]] = {}
        self._kept: LRUCache[str, tuple[str, KnownBatch]] = LRUCache(MAX_KEPT)  # with its ETag

    async def find_batch(self, batch_id: str, *, deadline_seconds: float) -> KnownBatch | None:
        if batch_id in DOTS:
            return None
        asking = self._asking.get(batch_id)
        if asking is None:
            asking = asyncio.create_task(self._ask(batch_id), name="ask bos")
            self._asking[batch_id] = asking
            asking.add_done_callback(lambda task: self._forget(batch_id, task))
        try:
            async with asyncio.timeout(deadline_seconds):
                return await asyncio.shield(asking)
        except TimeoutError:
            raise OrchestratorUnavailableError from None

    async def ping(self) -> None:
        """Return if BOS lives.

        Raises:
            OrchestratorUnavailableError: it does not answer.
        """
        try:
            async with asyncio.timeout(TRY_SECONDS):
                answer = await self._origin.get("/livez")
        except (OSError, TimeoutError) as exc:
            raise OrchestratorUnavailableError("BOS cannot be reached.") from exc
        if answer.status != HTTPStatus.OK:
            raise OrchestratorUnavailableError("BOS is not alive.")

    async def stop(self) -> None:
        """Give up the questions that are on their way."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _forget(self, batch_id: str, task: asyncio.Task[KnownBatch | None]) -> None:
        self._asking.pop(batch_id, None)
        if not task.cancelled():
            task.exception()  # looked at, though all who waited may have gone

    async def _ask(self, batch_id: str) -> KnownBatch | None:
        started = perf_counter()
        outcome = "not_asked"
        try:
            with self._breaker.asking():
                outcome = "failure"
                async with asyncio.timeout(TRY_SECONDS):
                    batch = await self._get(batch_id)
                outcome = "success"
                return batch
        except StoreUnavailableError as exc:
            raise OrchestratorUnavailableError from exc
        except (OSError, TimeoutError, ValueError) as exc:
            logger.warning("bos_gave_no_answer", error=type(exc).__name__, reason=str(exc)[:100])
            raise OrchestratorUnavailableError from exc
        finally:
            self._breaker_state.set(self._breaker.state)
            self._durations(outcome).observe(perf_counter() - started)

    async def _get(self, batch_id: str) -> KnownBatch | None:
        tag, kept = self._kept.get(batch_id, (None, None))
        path = PATH.format(batch_id=quote(batch_id, safe=""))
        answer = await self._origin.get(path, {"If-None-Match": tag} if tag else None)
        if answer.status == HTTPStatus.NOT_MODIFIED and kept is not None:
            return kept
        state = _read(batch_id, answer.status, answer.body)
        if state is None:
            return None
        batch = to_batch(state)
        if new_tag := answer.headers.get(b"etag"):
            self._kept[batch_id] = (new_tag.decode("latin-1"), batch)
        return batch


def _read(batch_id: str, status: int, content: bytes) -> PipelineState | None:
    """Return what the answer says.

    Raises:
        ValueError: it says nothing that can be used; a short reason that quotes nothing.
    """
    try:
        if status == HTTPStatus.OK:
            state = PipelineState.model_validate_json(content)
            if state.batch_id != batch_id:
                raise ValueError("of_another_batch")
            return state
        is_not_found = status == HTTPStatus.NOT_FOUND
        if is_not_found and Problem.model_validate_json(content).code == UNKNOWN_BATCH:
            return None
    except ValidationError:
        raise ValueError("garbled") from None
    raise ValueError(f"status_{status}")

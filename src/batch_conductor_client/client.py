"""BCS over HTTP: bounded, tried again where that may help, and left alone while it keeps failing.

An answer is believed only if it is one: of this batch, whole, and agreeing with itself. Anything
else is as good as none, for a wrong answer could skip a phase.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

import httpx
import structlog
from pydantic import BaseModel, SecretStr, ValidationError

from batch_conductor_client.outcomes import (
    BatchKnown,
    BatchOutcome,
    BatchUnknown,
    NothingToDo,
    Refused,
    ResolutionOutcome,
    Resolved,
    Unavailable,
    UnknownPipeline,
)
from common_core.define import BatchResponse, DefineRequest, DefineResponse
from common_core.problem import Problem
from common_core.verdicts import Verdict
from service_libs.breakers import Breaker
from service_libs.exceptions import StoreUnavailableError
from service_libs.timing import Backoff

MAX_ANSWER_BYTES = 64 * 1024 * 1024  # the outputs of a batch of 100,000 essays
MAX_BACKOFF_SECONDS = 2
OPEN_SECONDS = 1.5  # of the breaker: whoever waits goes on soon after BCS is back
MAX_RETRY_AFTER_DIGITS = 5  # no wait of BCS is longer than a day
DEFINE_PATH = "/internal/v1/pipelines/define"
CORRELATION_HEADER = "X-Correlation-ID"

logger = structlog.get_logger(__name__)

Model = TypeVar("Model", bound=BaseModel)
Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPolicy:
    """Where BCS is, and how long it is waited for.

    Attributes:
        try_seconds: longest wait for one try, so that there is time for another.
        token: the bearer token that BCS asks for, if it does.
    """

    base_url: str
    try_seconds: float = 10
    token: SecretStr | None = None


class _NoAnswerError(Exception):
    """This try gave no answer that can be used."""

    def __init__(self, reason: str, retry_after_seconds: float = 0) -> None:
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        super().__init__(reason)


class BatchConductorClient:
    """`BatchConductorClientProtocol`; to be closed at the end."""

    def __init__(
        self,
        policy: ClientPolicy,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        show_breaker: Callable[[int], None] | None = None,
    ) -> None:
        headers = {"Accept": "application/json"}
        if policy.token is not None:
            headers["Authorization"] = f"Bearer {policy.token.get_secret_value()}"
        self._policy = policy
        self._http = httpx.AsyncClient(
            base_url=policy.base_url,
            headers=headers,
            timeout=policy.try_seconds,  # of each step; `_send` bounds all of them together
            transport=transport,
        )
        self._breaker = Breaker(
            "bcs", policy.try_seconds, open_seconds=min(OPEN_SECONDS, policy.try_seconds)
        )
        self._show_breaker = show_breaker or (lambda _state: None)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def resolve(
        self, request: DefineRequest, *, deadline_seconds: float
    ) -> ResolutionOutcome:
        body = request.model_dump_json(exclude_defaults=True)
        headers = {"Content-Type": "application/json"}

        def read(response: httpx.Response) -> ResolutionOutcome:
            if response.status_code == httpx.codes.OK:
                return _read_resolution(request, response)
            problem = _read_problem(response)
            if response.status_code == httpx.codes.NOT_FOUND and problem.code == "unknown_pipeline":
                return UnknownPipeline(detail=problem.detail)
            return Refused(status=response.status_code, code=problem.code, detail=problem.detail)

        question = self._http.build_request("POST", DEFINE_PATH, content=body, headers=headers)
        return await self._ask(question, read, deadline_seconds)

    async def get_batch(
        self, batch_id: str, *, correlation_id: str, deadline_seconds: float
    ) -> BatchOutcome:
        def read(response: httpx.Response) -> BatchOutcome:
            if response.status_code == httpx.codes.OK:
                batch = _validated(BatchResponse, response)
                if batch.batch_id != batch_id:
                    raise _NoAnswerError("garbled")
                return BatchKnown(batch=batch)
            problem = _read_problem(response)
            if response.status_code == httpx.codes.NOT_FOUND and problem.code == "unknown_batch":
                return BatchUnknown()
            return Refused(status=response.status_code, code=problem.code, detail=problem.detail)

        path = f"/internal/v1/batches/{quote(batch_id, safe='')}"
        question = self._http.build_request(
            "GET", path, headers={CORRELATION_HEADER: correlation_id}
        )
        return await self._ask(question, read, deadline_seconds)

    async def _ask(
        self,
        question: httpx.Request,
        read: Callable[[httpx.Response], Outcome],
        deadline_seconds: float,
    ) -> Outcome | Unavailable:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + deadline_seconds
        backoff = Backoff(MAX_BACKOFF_SECONDS)
        while True:
            try:
                return await self._try_once(question, read, deadline - loop.time())
            except StoreUnavailableError:
                return Unavailable(
                    reason="not_asked", retry_after_seconds=self._breaker.seconds_to_probe
                )
            except _NoAnswerError as exc:
                pause = max(exc.retry_after_seconds, backoff.next_delay())
                logger.warning("bcs_gave_no_answer", reason=exc.reason, retry_in=round(pause, 3))
                if exc.reason in {"fault", "garbled"} or loop.time() + pause >= deadline:
                    return Unavailable(reason=exc.reason, retry_after_seconds=pause)
            await asyncio.sleep(pause)

    async def _try_once(
        self,
        question: httpx.Request,
        read: Callable[[httpx.Response], Outcome],
        remaining_seconds: float,
    ) -> Outcome:
        """Ask once, unless BCS is left alone.

        Raises:
            StoreUnavailableError: it failed too often lately, and was not asked.
            _NoAnswerError: there was no answer that can be used.
        """
        try:
            with self._breaker.asking():
                self._show_breaker(self._breaker.state)
                response = await self._send(question, remaining_seconds)
                if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                    raise _NoAnswerError("overloaded", _retry_after(response))
                if response.is_server_error:
                    raise _NoAnswerError("fault")
                return read(response)
        finally:
            self._show_breaker(self._breaker.state)

    async def _send(self, question: httpx.Request, remaining_seconds: float) -> httpx.Response:
        """Return the whole answer; the time is of all of it, however slowly it drips."""
        try:
            async with asyncio.timeout(min(remaining_seconds, self._policy.try_seconds)):
                response = await self._http.send(question, stream=True)
                try:
                    return await _received(response)
                finally:
                    await response.aclose()
        except TimeoutError as exc:
            raise _NoAnswerError("timeout") from exc
        except httpx.DecodingError as exc:
            raise _NoAnswerError("garbled") from exc
        except (httpx.HTTPError, OSError) as exc:
            raise _NoAnswerError("unreachable") from exc


async def _received(response: httpx.Response) -> httpx.Response:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise _NoAnswerError("garbled")
    return httpx.Response(
        response.status_code,
        headers={name: v for name, v in response.headers.items() if name == "retry-after"},
        content=bytes(content),
    )


def _read_resolution(request: DefineRequest, response: httpx.Response) -> Resolved | NothingToDo:
    answer = _validated(DefineResponse, response)
    running = [phase.name for phase in answer.phases if phase.verdict is Verdict.RUN]
    if answer.batch_id != request.batch_id or answer.final_pipeline != running:
        raise _NoAnswerError("garbled")
    return Resolved(answer=answer) if running else NothingToDo(answer=answer)


def _read_problem(response: httpx.Response) -> Problem:
    return _validated(Problem, response)


def _validated(model: type[Model], response: httpx.Response) -> Model:
    try:
        return model.model_validate_json(response.content)
    except ValidationError as exc:
        raise _NoAnswerError("garbled") from exc


def _retry_after(response: httpx.Response) -> float:
    """Return the seconds that a 503 asks for; a date, or nothing, is as good as none."""
    seconds = response.headers.get("Retry-After", "")
    is_one = seconds.isdecimal() and len(seconds) <= MAX_RETRY_AFTER_DIGITS
    return float(seconds) if is_one else 0.0

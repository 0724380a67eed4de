"""What the gateway is measured with: an orchestrator that only answers, and the bare routes.

`python -m bench.gateway_peers orchestrator|bare PORT` serves one of them, as a process of its own.
"""

import asyncio
import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import cast
from uuid import UUID

import uvicorn
from fastapi import FastAPI

from api_gateway_service.models.requests import PipelineRequest
from api_gateway_service.models.responses import BatchStatus, PipelineAccepted
from api_gateway_service.openapi_examples import ACCEPTED
from api_gateway_service.services.status_views import to_status
from common_core.pipeline_state import PhaseState, PipelineState, RunState
from local_stack.asking import ServiceClient
from local_stack.ports import LOCALHOST, find_free_port
from local_stack.processes import ServerProcess
from service_libs import event_loop
from service_libs.http.listener import Listener

NOT_MODIFIED = b"HTTP/1.1 304 Not Modified\r\nETag: %b\r\n\r\n"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
PHASES = ("spellcheck", "nlp", "ai_feedback", "cj_assessment")
_ASKED = re.compile(rb"^GET /internal/v1/batches/([^/]+)/pipeline-state")


def batch_of(teacher: str) -> str:
    """Return the one batch that a teacher has."""
    return f"batch-of-{teacher}"


@cache
def state_of(batch_id: str) -> PipelineState:
    """Return the batch: one run of four phases has ended, another is at work."""
    return PipelineState(
        batch_id=batch_id,
        user_id=batch_id.removeprefix("batch-of-"),
        batch_status="processing_pipelines",
        runs=[_run("ai_feedback", "running", 1), _run("cj_assessment", "completed", 2)],
    )


def _run(pipeline: str, state: str, number: int) -> RunState:
    phases = [
        PhaseState(
            name=name,
            status="completed_successfully",
            completed=30,
            failed=0,
            total=30,
            skip_reason=None,
            stalled=False,
        )
        for name in PHASES
    ]
    return RunState(
        run_id=UUID(int=number),
        request_ids=[UUID(int=number)],
        pipeline=pipeline,
        state=state,
        reason=None,
        phases=phases,
        correlation_id=UUID(int=number),
        accepted_at=NOON,
        started_at=NOON,
        ended_at=None if state == "running" else NOON,
    )


class _Orchestrator(asyncio.Protocol):
    """BOS as the gateway sees it, at the least cost: others need the second core.

    Args:
        answers: by batch, what it is answered, and the tag of that.
    """

    def __init__(self, answers: dict[bytes, tuple[bytes, bytes]]) -> None:
        self._answers = answers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        asked = _ASKED.match(data)
        if asked is None:
            self._transport.write(_framed(b'{"alive": true}', b'""'))
            return
        answer, tag = self._answer(asked[1])
        self._transport.write(NOT_MODIFIED % tag if tag in data else answer)

    def _answer(self, batch_id: bytes) -> tuple[bytes, bytes]:
        found = self._answers.get(batch_id)
        if found is None:
            body = state_of(batch_id.decode()).model_dump_json().encode()
            tag = b'"%b"' % hashlib.sha256(body).hexdigest().encode()
            found = self._answers[batch_id] = (_framed(body, tag), tag)
        return found


def _framed(body: bytes, tag: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: %b\r\n" % tag
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def serve_orchestrator(port: int) -> None:
    """Answer for ever what BOS would, of whatever batch is asked for."""
    answers: dict[bytes, tuple[bytes, bytes]] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Orchestrator(answers), LOCALHOST, port)
    await server.serve_forever()


async def serve_bare(port: int) -> None:
    """Serve routes that take and answer the same models as the gateway's, with nothing behind."""
    app = FastAPI()
    accepted = PipelineAccepted.model_validate(ACCEPTED)
    status = to_status(state_of("batch-of-me"))

    @app.post("/v1/batches/{batch_id}/pipelines", status_code=202)
    async def take(batch_id: str, body: PipelineRequest) -> PipelineAccepted:
        return accepted.model_copy(
            update={"batch_id": batch_id, "message": body.requested_pipeline}
        )

    @app.get("/v1/batches/{batch_id}/status")
    async def show(batch_id: str) -> BatchStatus:
        return status.model_copy(update={"batch_id": batch_id})

    @app.get("/readyz")
    async def is_ready() -> dict[str, bool]:
        return {"ready": True}

    listener = Listener(LOCALHOST, port, settings="the port")
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
    await uvicorn.Server(config).serve([listener.socket])


@contextmanager
def peer(name: str, directory: Path) -> Iterator[int]:
    """Run one of them; give its port."""
    port = find_free_port()
    process = ServerProcess(
        name,
        [sys.executable, "-m", "bench.gateway_peers", name, str(port)],
        log_path=directory / f"{name}.log",
    )
    process.start()
    try:
        process.wait_ready(ServiceClient(f"http://{LOCALHOST}:{port}").is_ready)
        yield port
    finally:
        process.kill()


_SERVERS: Mapping[str, Callable[[int], object]] = {
    "orchestrator": lambda port: event_loop.run(serve_orchestrator(port)),
    "bare": lambda port: event_loop.run(serve_bare(port)),
}

if __name__ == "__main__":
    _SERVERS[sys.argv[1]](int(sys.argv[2]))

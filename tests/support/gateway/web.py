"""BOS and an identity service as the gateway sees them: servers on sockets, which may misbehave."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

from joserfc.jwk import Key

from common_core.pipeline_state import PhaseState, PipelineState, RunState

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Web:
    """What the server answers; a test changes it while it runs.

    Attributes:
        batches: what BOS knows, by batch.
        keys: what the identity service publishes.
        delay_seconds: before each answer.
        broken: an answer given instead of every other: status and body.
        asked: how often each path was asked for.
        headers: those of the last request.
    """

    def __init__(self) -> None:
        self.url = ""
        self.batches: dict[str, PipelineState] = {}
        self.keys: list[Key] = []
        self.delay_seconds = 0.0
        self.broken: tuple[int, bytes] | None = None
        self.asked: Counter[str] = Counter()
        self.headers: dict[str, str] = {}

    def put(self, state: PipelineState) -> None:
        """Have BOS know a batch."""
        self.batches[state.batch_id] = state

    def answer(self, path: str) -> tuple[int, bytes]:
        """Return status and body."""
        self.asked[path] += 1
        time.sleep(self.delay_seconds)
        if self.broken is not None:
            return self.broken
        if path == "/jwks":
            keys = [key.as_dict(private=False) for key in self.keys]
            return 200, json.dumps({"keys": keys}).encode()
        if path == "/livez":
            return 200, b'{"alive": true}'
        state = self.batches.get(path.split("/")[-2]) if path.endswith("/pipeline-state") else None
        if state is not None:
            return 200, state.model_dump_json().encode()
        return 404, json.dumps(UNKNOWN).encode()


UNKNOWN: dict[str, Any] = {
    "type": "urn:bos:problem:unknown_batch",
    "title": "Not Found",
    "status": 404,
    "detail": "Nothing is known of this batch.",
    "code": "unknown_batch",
    "correlation_id": "",
}


@contextmanager
def served_web() -> Iterator[Web]:
    """Serve on a port of its own, in threads of its own."""
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer is one packet

        def do_GET(self) -> None:
            web.headers = dict(self.headers)
            status, body = web.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_arguments: object) -> None:
            """Whoever asked has gone."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def phase(name: str, status: str = "dispatch_initiated", **changes: object) -> PhaseState:
    """Return a phase of three essays."""
    fields = {
        "name": name,
        "status": status,
        "completed": 0,
        "failed": 0,
        "total": 3,
        "skip_reason": None,
        "stalled": False,
    }
    return PhaseState.model_validate(fields | changes)


def run(pipeline: str = "nlp", state: str = "running", **changes: object) -> RunState:
    """Return a run with one request."""
    fields = {
        "run_id": uuid4(),
        "request_ids": [uuid4()],
        "pipeline": pipeline,
        "state": state,
        "reason": None,
        "phases": [phase("spellcheck")],
        "correlation_id": UUID(int=7),
        "accepted_at": NOON,
        "started_at": NOON,
        "ended_at": None,
    }
    return RunState.model_validate(fields | changes)


def batch(
    batch_id: str,
    user: str = "teacher",
    status: str = "ready_for_pipeline_execution",
    *runs: RunState,
) -> PipelineState:
    """Return a batch as BOS shows it."""
    return PipelineState(batch_id=batch_id, user_id=user, batch_status=status, runs=list(runs))

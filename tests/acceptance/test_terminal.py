"""The log of a service that a person has started at a terminal."""

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from common_core.printable import is_printable
from local_stack.ports import accepts_connections, find_free_port
from tests.support.half_sent import DEFINE
from tests.support.servers import wait_until_ready

ROOT = Path(__file__).parents[2]
QUESTION = {"batch_id": "batch-1", "requested_pipeline": "cj_assessment"}
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
HOSTILE = "p\x1b]0;title\x07\x9b2J\u202e\x7fend"


class Terminal:
    """A terminal that the service's output goes to."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()

    def read(self) -> str:
        """Return all that was written, once nobody writes any more."""
        os.close(self.theirs)
        seen = b""
        try:
            while part := os.read(self._ours, 65536):
                seen += part
        except OSError:  # the other end is closed
            os.close(self._ours)
        return seen.decode()


@contextmanager
def serving_at(terminal: Terminal) -> Iterator[str]:
    port = find_free_port()
    settings = {"ENVIRONMENT": "testing", "HTTP_HOST": "127.0.0.1", "HTTP_PORT": port}
    process = subprocess.Popen(
        [Path(sys.executable).with_name("bcs"), "serve"],
        cwd=ROOT,
        env=os.environ
        | {f"BCS_{name}": str(value) for name, value in settings.items()}
        | {"BCS_LOG_LEVEL": "DEBUG"},
        stdout=terminal.theirs,
        stderr=terminal.theirs,
    )

    async def ping() -> None:
        if not accepts_connections(port):
            raise ConnectionRefusedError

    try:
        wait_until_ready(ping)
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()


def test_what_callers_send_does_nothing_to_it() -> None:
    terminal = Terminal()
    with serving_at(terminal) as address, httpx.Client(base_url=address) as client:
        client.post(DEFINE, json=QUESTION | {"requested_pipeline": HOSTILE})
        client.post(DEFINE, json=QUESTION | {"correlation_id": HOSTILE})
        client.post(DEFINE, json=QUESTION | {"batch_id": HOSTILE})
        client.post(DEFINE, json=QUESTION, headers={b"X-Correlation-ID": "☂\x9b2J".encode()})
        client.get("/internal/v1/batches/%1b%5d0;title%07%9b")
        client.get("/%1b%5d0;title%07%c2%9b", headers={b"User-Agent": "\x9b2J".encode()})

    lines = COLOURS.sub("", terminal.read()).split("\r\n")
    assert any("unknown_pipeline" in line for line in lines)
    assert any("\\u001b]0;title" in line for line in lines)
    assert [line for line in lines if not is_printable(line)] == []

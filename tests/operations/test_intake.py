"""Callers that do not send what they announce keep nobody else out, and cost little."""

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.bystander import Bystander
from tests.support.half_sent import DEFINE, half_sent, head
from tests.support.processes import ServiceProcess, serving_process, timed_process

QUESTION = {"batch_id": "batch-1", "requested_pipeline": "cj_assessment"}
MEBIBYTE = 1024 * 1024
ATTACKERS = 2_000
MEMORY_BYTES = 512 * MEBIBYTE
LIVEZ = "/livez"
TOKEN = {"SERVICE_TOKEN": "s3cret"}
BEARER = {"Authorization": "Bearer s3cret"}
HALF = MEBIBYTE // 2
SECONDS = 7


def peak_memory(process: ServiceProcess) -> int:
    """Return the most bytes that the process has had resident."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kibibytes) * 1024


@pytest.mark.parametrize(
    ("settings", "begun", "padding"),
    [
        ({}, head(MEBIBYTE), HALF),
        (TOKEN, head(MEBIBYTE), HALF),
        (TOKEN, head(MEBIBYTE, **BEARER), HALF),
        ({}, head(300), 10),
        ({}, "POST / HTTP/1.1\r\nHost: bcs\r\nX-Slow: ", 0),
        ({}, "", 0),
    ],
    ids=["large", "large-without-token", "large-with-token", "small", "half-a-head", "nothing"],
)
async def test_others_are_served_beside_two_thousand_that_never_end(
    settings: dict[str, str], begun: str, padding: int
) -> None:
    with timed_process(**settings) as (process, address):
        bystander = Bystander(address, process.pid)
        async with half_sent(address, ATTACKERS, begun, padding):
            await bystander.ask_for(SECONDS)

        assert set(bystander.statuses) == {200}
        assert bystander.slowest_life_seconds < 1
        assert peak_memory(process) < MEMORY_BYTES


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a service answers; no test may end or harm it."""
    with serving_process() as (_, address):
        yield address


@pytest.fixture(scope="module")
def guarded_address() -> Iterator[str]:
    """Where a service answers that asks for a token; no test may end or harm it."""
    with serving_process(**TOKEN) as (_, address):
        yield address


async def test_a_body_that_stalls_is_refused_after_ten_seconds(address: str) -> None:
    with connect(address) as caller:
        caller.sendall(head(100).encode() + b"{")
        began = time.monotonic()

        answer = await asyncio.to_thread(read_to_the_end, caller)

        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"request_timeout"' in answer
        assert 9 < time.monotonic() - began < 13


def connect(address: str) -> socket.socket:
    url = httpx.URL(address)
    return socket.create_connection((url.host, url.port or 80), timeout=30)


def read_to_the_end(connection: socket.socket) -> bytes:
    """Return all that comes until the service ends the connection."""
    answer = b""
    while part := connection.recv(65536):
        answer += part
    return answer


def test_a_head_that_stalls_ends_the_connection(address: str) -> None:
    with connect(address) as caller:
        caller.sendall(b"GET /livez HTTP/1.1\r\nHost: bcs\r\n")
        began = time.monotonic()

        assert read_to_the_end(caller) == b""
        assert time.monotonic() - began < 13


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head(MEBIBYTE + 1), 413),
        (head(MEBIBYTE).replace("json", "text"), 415),
        (head(MEBIBYTE).replace("define", "nothing"), 404),
    ],
)
def test_a_refusal_comes_before_the_body_and_ends_the_connection(
    address: str, request_head: str, status: int
) -> None:
    assert_refused_before_the_body(address, request_head, status)


def test_a_missing_token_is_refused_before_the_body(guarded_address: str) -> None:
    assert_refused_before_the_body(guarded_address, head(MEBIBYTE), 401)


def assert_refused_before_the_body(address: str, request_head: str, status: int) -> None:
    """Send the head and one byte, and see the refusal and the end of the connection."""
    with connect(address) as caller:
        caller.sendall(request_head.encode() + b"{")

        answer = read_to_the_end(caller)

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"connection: close" in answer.lower()


def test_what_follows_a_refused_body_is_no_request(guarded_address: str) -> None:
    """The rest of a body that nobody read may look like a request."""
    with connect(guarded_address) as caller:
        hidden = f"GET {LIVEZ} HTTP/1.1\r\nHost: bcs\r\n\r\n".encode()
        caller.sendall(head(MEBIBYTE).encode() + hidden)

        assert read_to_the_end(caller).count(b"HTTP/1.1 ") == 1


def test_a_refused_caller_that_sent_all_may_go_on_over_its_connection(
    guarded_address: str,
) -> None:
    with httpx.Client(base_url=guarded_address) as client:
        assert client.post(DEFINE, json=QUESTION).status_code == 401
        response = client.post(DEFINE, json=QUESTION, headers=BEARER)

        assert response.status_code == 200
        assert "Connection" not in response.headers

"""HTTP/1.1 and nothing else, on raw connections: where requests end, and what else is asked for."""

import json
import re
import socket

import httpx
import pytest

from tests.support.half_sent import DEFINE

QUESTION = {"batch_id": "batch-1", "requested_pipeline": "cj_assessment"}
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: bcs\r\n\r\n"
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
CHUNKED = b"2\r\n{}\r\n0\r\n\r\n"


def connect(address: str) -> socket.socket:
    url = httpx.URL(address)
    return socket.create_connection((url.host, url.port or 80), timeout=20)


def exchange(address: str, data: bytes) -> bytes:
    """Return all that is answered until the service ends the connection."""
    with connect(address) as connection:
        connection.sendall(data)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def post(*headers: str) -> bytes:
    lines = [f"POST {DEFINE} HTTP/1.1", "Host: bcs", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def still_serves(address: str) -> bool:
    return httpx.get(f"{address}/livez").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 12", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 0"),
        ("content-length: 12", "transfer-encoding: Chunked"),
    ],
)
def test_a_request_that_is_framed_twice_is_refused_and_ends_its_connection(
    address: str, headers: tuple[str, ...]
) -> None:
    answer = exchange(address, post(*headers) + CHUNKED + LIVEZ)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["code"] == "invalid_request"


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 12", "Content-Length: 13"),
        ("Content-Length: -1",),
        ("Content-Length: +2",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding : chunked",),
        ("Content-Length: 2, 3",),
    ],
)
def test_a_request_whose_end_is_not_clear_ends_its_connection(
    address: str, headers: tuple[str, ...]
) -> None:
    answer = exchange(address, post(*headers) + CHUNKED + LIVEZ)

    assert re.match(rb"HTTP/1\.1 (400|501) ", answer)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()


def test_requests_sent_one_behind_the_other_are_answered_in_order(address: str) -> None:
    question = json.dumps(QUESTION).encode()
    asked = post(f"Content-Length: {len(question)}") + question
    last = LIVEZ.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    answer = exchange(address, asked * 5 + last)

    assert answer.count(b"HTTP/1.1 200") == 6
    assert answer.count(b'"final_pipeline"') == 5


def test_more_than_a_thousand_requests_over_one_connection_lose_none(address: str) -> None:
    with httpx.Client(base_url=address, limits=httpx.Limits(max_connections=1)) as client:
        statuses = {client.get("/livez").status_code for _ in range(2_500)}

    assert statuses == {200}


@pytest.mark.parametrize("wanted", ["h2c", "websocket", "nothing/1.0"])
def test_an_upgrade_is_passed_over_and_the_request_answered(address: str, wanted: str) -> None:
    """As RFC 9110 (7.8) has it for a server that does not know the other protocol."""
    headers = f"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {wanted}\r\n"
    headers += "HTTP2-Settings: AAMAAABkAAQAAP__\r\nSec-WebSocket-Version: 13\r\n"
    headers += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    asked = LIVEZ.replace(b"\r\n\r\n", headers.encode())

    with connect(address) as connection:
        for _ in range(2):
            connection.sendall(asked)
            answer = connection.recv(65536)
            while not answer.endswith(b"}\n"):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")


def test_http_2_from_the_start_is_refused(address: str) -> None:
    answer = exchange(address, HTTP2_PREFACE)

    assert answer.startswith(b"HTTP/1.1 505 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert still_serves(address)


def test_a_reset_in_the_middle_of_anything_harms_nobody(address: str) -> None:
    for data in (b"", b"GET /li", LIVEZ, post("Content-Length: 100") + b"{", LIVEZ * 50):
        with connect(address) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(data)

    assert still_serves(address)


@pytest.mark.parametrize(
    "junk", [b"\0" * 100, b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n"]
)
def test_what_is_no_http_ends_its_connection(address: str, junk: bytes) -> None:
    answer = exchange(address, junk + b"\r\n\r\n")

    assert re.match(rb"HTTP/1\.1 (400|505) ", answer)
    assert still_serves(address)

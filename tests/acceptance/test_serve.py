"""`bcs serve` as a process, with its state in memory: how it starts, answers and ends."""

import asyncio
import signal
import socket
import time
from collections import Counter

import httpx
import pytest

from local_stack.ports import find_free_port
from tests.support.processes import service_process, serving_process

DEFINE = "/internal/v1/pipelines/define"
QUESTION = {"batch_id": "batch-1", "requested_pipeline": "cj_assessment"}
CALLERS = 16


def test_the_question_is_answered(address: str) -> None:
    response = httpx.post(address + DEFINE, json=QUESTION)

    assert response.status_code == 200
    assert response.json()["final_pipeline"] == ["spellcheck", "cj_assessment"]
    assert httpx.get(address + "/healthz").json()["status"] == "healthy"
    assert httpx.get(address + "/readyz").status_code == 200
    assert httpx.get(address + "/livez").status_code == 200
    assert "bcs_pipeline_resolutions_total" in httpx.get(address + "/metrics").text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_also_beside_an_idle_connection(number: signal.Signals) -> None:
    with serving_process() as (process, address), httpx.Client(base_url=address) as client:
        client.get("/livez")
        began = time.monotonic()

        process.signal(number)

        assert process.wait() == 0
        assert time.monotonic() - began < 5
        assert process.log[-1]["event"] == "stopped"


@pytest.mark.parametrize(("settings", "is_required"), [({}, False), ({"SERVICE_TOKEN": "t"}, True)])
def test_the_log_says_whether_a_token_is_asked_for(
    settings: dict[str, str], *, is_required: bool
) -> None:
    with serving_process(**settings) as (process, _):
        process.signal(signal.SIGTERM)
        process.wait()

        (line,) = [entry for entry in process.log if entry["event"] == "starting"]
        assert line["service_token_required"] is is_required


def test_what_could_not_be_told_makes_the_end_unclean() -> None:
    settings = {"ENVIRONMENT": "development", "USE_MOCK_REPOSITORY": True}
    nowhere = f"127.0.0.1:{find_free_port()}"
    with serving_process(
        **settings, KAFKA_BOOTSTRAP_SERVERS=nowhere, SHUTDOWN_TIMEOUT_SECONDS=10
    ) as (process, address):
        httpx.post(address + DEFINE, json=QUESTION | {"requested_pipeline": "unknown"})

        process.signal(signal.SIGTERM)

        assert process.wait() == 1
        (line,) = [e for e in process.log if e["event"] == "announcements_dropped_at_stop"]
        assert line["count"] == 1


class Callers:
    """Callers that ask again and again, and what became of each question."""

    def __init__(self, address: str, *, keep_alive: bool) -> None:
        self.outcomes: Counter[str] = Counter()
        self.are_under_way = asyncio.Event()
        self._address = address
        self._limits = httpx.Limits(max_keepalive_connections=CALLERS if keep_alive else 0)

    async def call_until_refused(self) -> None:
        """Ask until the door is closed to every caller."""
        async with httpx.AsyncClient(limits=self._limits, timeout=30) as client:
            await asyncio.gather(*(self._call(client) for _ in range(CALLERS)))

    async def _call(self, client: httpx.AsyncClient) -> None:
        while True:
            try:
                response = await client.post(self._address + DEFINE, json=QUESTION)
            except httpx.ConnectError:
                return  # never accepted
            except httpx.HTTPError as exc:
                self.outcomes[type(exc).__name__] += 1
            else:
                self.outcomes[str(response.status_code)] += 1
                if self.outcomes["200"] > 10 * CALLERS:
                    self.are_under_way.set()


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_under_load_everything_accepted_is_answered_in_time(*, keep_alive: bool) -> None:
    with serving_process(SHUTDOWN_TIMEOUT_SECONDS=10) as (process, address):
        callers = Callers(address, keep_alive=keep_alive)
        calling = asyncio.create_task(callers.call_until_refused())
        await callers.are_under_way.wait()
        began = time.monotonic()

        process.signal(signal.SIGTERM)
        await calling

        assert await asyncio.to_thread(process.wait) == 0
        assert time.monotonic() - began < 10
        assert set(callers.outcomes) == {"200"}


def half_a_request(address: str) -> socket.socket:
    """Return a connection with a request that the service has begun to read, and never ends."""
    url = httpx.URL(address)
    connection = socket.create_connection((url.host, url.port or 80))
    head = f"POST {DEFINE} HTTP/1.1\r\nHost: bcs\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: 100\r\nExpect: 100-continue\r\n\r\n".encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")  # it waits for the body
    connection.sendall(b"{")
    return connection


def test_a_request_that_never_ends_does_not_outlast_the_deadline() -> None:
    with serving_process(SHUTDOWN_TIMEOUT_SECONDS=2) as (process, address):
        with half_a_request(address):
            began = time.monotonic()

            process.signal(signal.SIGTERM)
            process.wait()

        assert time.monotonic() - began < 10  # on a busy machine; the request itself has 30


def test_a_second_signal_ends_it_at_once() -> None:
    with serving_process(SHUTDOWN_TIMEOUT_SECONDS=60) as (process, address):
        with half_a_request(address):
            process.signal(signal.SIGTERM)
            process.wait_for_event("stopping")
            began = time.monotonic()

            process.signal(signal.SIGTERM)

            assert process.wait() == 1
        assert time.monotonic() - began < 5
        assert process.log[-1]["event"] == "ended_at_once"


def test_a_bad_setting_is_one_line_that_names_it() -> None:
    with service_process(HTTP_TIMEOUT="soon") as process:
        assert process.wait() == 1

        assert len(process.output) == 1
        assert "BCS_HTTP_TIMEOUT" in process.output[0]


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with service_process(HTTP_PORT=port) as process:
            assert process.wait() == 1

            assert f"127.0.0.1:{port}: Address already in use" in process.output[-1]
            assert "Traceback" not in "".join(process.output)


def test_a_missing_pipeline_file_is_one_line_that_names_it() -> None:
    with service_process(PIPELINE_CONFIG_PATH="nowhere.yaml") as process:
        assert process.wait() == 1

        assert len(process.output) == 1
        assert "nowhere.yaml" in process.output[0]


def test_a_body_over_the_limit_is_refused_on_a_real_connection(address: str) -> None:
    """The answer must reach a caller that is still sending."""
    response = httpx.post(
        address + DEFINE,
        content=b" " * 5_000_000,
        headers={"Content-Type": "application/json"},
    )

    assert response.status_code == 413
    assert response.json()["code"] == "body_too_large"

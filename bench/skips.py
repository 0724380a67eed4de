"""Skip events while `define` is asked as fast as it answers.

Each answer skips a phase, and tells so in an event of its own, beside the answer. Every event that
is due has to arrive: none is dropped, however fast the questions come. What waits is bounded: where
the broker does not keep up, answers wait.
"""

import asyncio
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client.parser import text_string_to_metric_families

from bench.figures import Figure, Goal
from bench.http_load import Load, ask, request
from bench.seeding import register
from bench.servers import Servers
from local_stack.service import ServiceProcess

BATCH, ESSAYS = "skips", 30
# Without a correlation id each question has one of its own, and so has its event.
ASK = request(
    "POST",
    "/internal/v1/pipelines/define",
    b'{"batch_id": "%s", "requested_pipeline": "cj_assessment"}' % BATCH.encode(),
)
CONNECTIONS = 100  # each ends after 1,000 requests
PATIENCE_SECONDS = 60.0  # for the events that wait at the end
LOOK_SECONDS = 0.25
ALL_ARRIVE = Goal(bound=1, alarm=0.9999)


def measure(servers: Servers, *, is_quick: bool) -> Iterator[Figure]:
    """Ask for some seconds, and count what has arrived when nothing waits any more."""
    with servers.serving("bcs") as service:
        asyncio.run(register(servers, service.client, {BATCH: ESSAYS}))
        ask(Load(port=service.port, requests=[ASK], seconds=0.3)).require(200)
        _wait_until_told(service)
        before = _events(service, "published")
        with _most_waiting(service) as most:
            seconds = 3.0 if is_quick else 10.0
            load = Load(port=service.port, requests=[ASK], connections=CONNECTIONS, seconds=seconds)
            answers = ask(load).require(200)
        ended = time.monotonic()
        _wait_until_told(service)
        told = _events(service, "published") - before
        yield Figure(
            work="events of answers that skipped a phase",
            measured=told,
            unit="events",
            limit=("answers", len(answers.latencies)),
            goal=ALL_ARRIVE,
            remark=f"{_events(service, 'dropped'):.0f} were dropped; at most {max(most):,.0f}"
            f" waited; all were told {time.monotonic() - ended:.1f} s after the last answer",
        )
        yield Figure(work="answers meanwhile", measured=answers.per_second, unit="requests/s")


@contextmanager
def _most_waiting(service: ServiceProcess) -> Iterator[list[float]]:
    """Give what grows by each look at how many events wait."""
    seen, is_over = [0.0], threading.Event()

    def look() -> None:
        while not is_over.wait(LOOK_SECONDS):
            seen.append(_sample(service, "bcs_skip_events_waiting"))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        is_over.set()
        looking.join()


def _wait_until_told(service: ServiceProcess) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _sample(service, "bcs_skip_events_waiting"):
        if time.monotonic() > deadline:
            raise TimeoutError("Skip events wait and wait.")
        time.sleep(0.01)


def _events(service: ServiceProcess, outcome: str) -> float:
    return _sample(service, "bcs_phase_skipped_events_total", outcome)


def _sample(service: ServiceProcess, name: str, outcome: str | None = None) -> float:
    """Return the sum of a metric's samples, those with the outcome where one is given."""
    with urllib.request.urlopen(f"{service.client.url}/metrics") as answer:  # noqa: S310 - our own
        text = answer.read().decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and outcome in (None, sample.labels.get("outcome"))
    )

"""The flow: from a click to the first phase, and how many runs a second.

How long does a teacher wait between his click and the first command to a phase, how long BOS, and
how many runs do three services, each one process, complete? Everything is real: gateway, broker,
BOS with its tables and outbox, BCS with Redis and Postgres; a batch has 30 essays, its pipeline two
phases, and each command is answered at once. What is asked at a rate is asked however long the
answers take. All of it, clients included, shares the machine's cores.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.figures import Figure, Goal, quantile
from bench.servers import Servers
from common_core.topics import EventName, topic_name
from local_stack.flow_neighbours import COMPLETED, OWNER
from local_stack.neighbours import COMMAND_TOPICS
from local_stack.tokens import make_secret, make_token

PIPELINE = "nlp"  # spellcheck, then nlp
ESSAYS = 30  # of a batch
RATE = 20.0  # a second
SECONDS, QUICK_SECONDS = 20.0, 3.0
RUNS = 1_000  # asked for at once
OPEN_RUNS = 2_000  # which wait for an outcome
LAST = 30  # batches, of whichever partition: each is read in order, so they tell of all
SETTLED_SECONDS, SETTLING_SECONDS = 60.0, 2.0
CLICK_GOAL = Goal(bound=2_000, kind="at most")
UNLIMITED = "1000000"  # one teacher has all batches


class Players:
    """The clients and ELS: commands are answered at once, unless they are to stay open.

    Attributes:
        asked: when each batch's pipeline was asked for: clicked for, or acknowledged by the broker.
        commanded: when its first phase command was read.
        completed: when the end of its run was.
    """

    def __init__(self, bootstrap_servers: str, gateway: httpx.AsyncClient) -> None:
        self._gateway = gateway
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, linger_ms=2)
        self._consumer = AIOKafkaConsumer(
            *COMMAND_TOPICS,
            COMPLETED,
            bootstrap_servers=bootstrap_servers,
            group_id=None,
            fetch_max_wait_ms=10,
        )
        self._essays = [f"essay-{number:03}" for number in range(ESSAYS)]
        self.are_answering = True
        self.asked: dict[str, float] = {}
        self.commanded: dict[str, float] = {}
        self.completed: dict[str, float] = {}

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        """Be connected, and listen, until the end of the block."""
        async with self._producer, self._consumer:
            listening = asyncio.create_task(self._listen())
            try:
                yield
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def make_ready(self, batches: list[str]) -> None:
        """Register the batches, and say that their texts are there."""
        for batch in batches:
            registered = {
                "event": "batch.essays.registered",
                "entity_id": batch,
                "expected_essay_count": len(self._essays),
                "essay_ids": self._essays,
                "course_code": "ENG5",
                "user_id": OWNER,
                "class_id": "class-1",
            }
            ready = {
                "event": "batch.essays.ready",
                "batch_id": batch,
                "ready_essays": [
                    {"essay_id": one, "text_storage_id": f"original-{one}"} for one in self._essays
                ],
                "course_code": "ENG5",
                "course_language": "en",
                "class_type": "REGULAR",
            }
            _ = await self._send(EventName.BATCH_ESSAYS_REGISTERED, batch, registered)
            _ = await self._send(EventName.BATCH_ESSAYS_READY, batch, ready)
        await self._producer.flush()

    async def until_ready(self, batch: str) -> None:
        """Wait until BOS knows that the texts are there."""
        async with asyncio.timeout(SETTLED_SECONDS):
            while True:
                answer = await self._gateway.get(f"/v1/batches/{batch}/status")
                if answer.is_success and answer.json()["status"] == "ready":
                    return
                await asyncio.sleep(0.05)

    async def click(self, batch: str) -> None:
        """Ask the gateway for a pipeline of two phases, and note when that was."""
        self.asked[batch] = time.monotonic()
        answer = await self._gateway.post(
            f"/v1/batches/{batch}/pipelines",
            json={"requested_pipeline": PIPELINE},
            headers={"Idempotency-Key": batch},
        )
        answer.raise_for_status()

    async def command(self, batch: str) -> None:
        """Ask BOS for the same over Kafka, and note when the broker has it."""
        data = {
            "batch_id": batch,
            "requested_pipeline": PIPELINE,
            "client_correlation_id": str(uuid4()),
            "user_id": OWNER,
            "is_retry": False,
            "request_id": str(uuid4()),
        }
        acknowledged = await self._send(EventName.CLIENT_BATCH_PIPELINE_REQUEST, batch, data)
        await acknowledged
        self.asked[batch] = time.monotonic()

    async def _listen(self) -> None:
        async for record in self._consumer:
            envelope = json.loads(record.value)
            now = time.monotonic()
            if record.topic == COMPLETED:
                self.completed[envelope["data"]["batch_id"]] = now
                continue
            self.commanded.setdefault(envelope["data"]["entity_id"], now)
            if self.are_answering:
                await self._answer(COMMAND_TOPICS[record.topic], envelope)

    async def _answer(self, phase: str, command: dict[str, Any]) -> None:
        batch = command["data"]["entity_id"]
        essays = [one["essay_id"] for one in command["data"]["essays_to_process"]]
        outcome = {
            "batch_id": batch,
            "phase_name": phase,
            "phase_status": "completed_successfully",
            "processed_essays": [
                {"essay_id": one, "text_storage_id": f"{phase}-{one}"} for one in essays
            ],
            "failed_essay_ids": [],
            "correlation_id": command["correlation_id"],
        }
        correlation = command["correlation_id"]
        _ = await self._send(EventName.ELS_BATCH_PHASE_OUTCOME, batch, outcome, correlation)

    async def _send(
        self, event: EventName, batch: str, data: dict[str, Any], correlation: str | None = None
    ) -> asyncio.Future[object]:
        envelope = {
            "event_id": str(uuid4()),
            "event_type": event.value,
            "event_timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "source_service": "bench",
            "schema_version": 1,
            "correlation_id": correlation or str(uuid4()),
            "data": data,
        }
        value = json.dumps(envelope).encode()
        sent: asyncio.Future[object] = await self._producer.send(
            topic_name(event), value, key=batch.encode()
        )
        return sent


async def until(what: str, counted: dict[str, float], batches: list[str], seconds: float) -> None:
    """Wait until all batches are counted.

    Raises:
        TimeoutError: they are not within that time; the message says how many are.
    """
    end = time.monotonic() + seconds
    while missing := [one for one in batches if one not in counted]:
        if time.monotonic() > end:
            raise TimeoutError(f"{len(missing)} of {len(batches)} were not {what}.")
        await asyncio.sleep(0.05)


def measure(servers: Servers, *, is_quick: bool) -> Iterator[Figure]:
    """Measure it."""
    secret = make_secret()
    with ExitStack() as running:
        bcs = running.enter_context(servers.serving("bcs"))
        bos = running.enter_context(
            servers.serving("bos", {"BOS_BCS_BASE_URL": bcs.client.url, "BOS_LOG_LEVEL": "WARNING"})
        )
        gateway = running.enter_context(
            servers.serving(
                "gateway",
                {
                    "API_GATEWAY_JWT_SECRET": secret,
                    "API_GATEWAY_REDIS_URL": servers.redis,
                    "API_GATEWAY_BOS_URL": bos.client.url,
                    "API_GATEWAY_RATE_LIMIT_PIPELINES_BURST": UNLIMITED,
                    "API_GATEWAY_RATE_LIMIT_PIPELINES_PER_MINUTE": UNLIMITED,
                    "API_GATEWAY_RATE_LIMIT_STATUS_PER_MINUTE": UNLIMITED,
                },
            )
        )
        yield from asyncio.run(
            _measure(servers.kafka, gateway.client.url, secret, is_quick=is_quick)
        )


async def _measure(kafka: str, gateway: str, secret: str, *, is_quick: bool) -> Sequence[Figure]:
    headers = {"Authorization": f"Bearer {make_token(secret, OWNER)}"}
    async with httpx.AsyncClient(base_url=gateway, headers=headers, timeout=30) as client:
        players = Players(kafka, client)
        async with players.playing():
            seconds = QUICK_SECONDS if is_quick else SECONDS
            await _waits(players, players.click, QUICK_SECONDS)  # all connect, and prepare
            clicks = _figure("a click", await _waits(players, players.click, seconds), CLICK_GOAL)
            if is_quick:
                return [clicks]
            commands = _figure("a command", await _waits(players, players.command, seconds))
            runs = await _measure_throughput(players)
            await _open_runs(players)
            waits = await _waits(players, players.command, seconds)
            beside = _figure(f"a command, while {OPEN_RUNS:,} runs are open,", waits)
            return [clicks, commands, runs, beside]


def _figure(what: str, waits: list[float], goal: Goal | None = None) -> Figure:
    return Figure(
        work=f"from {what} to the first phase, {RATE:.0f}/s, 99 of 100",
        measured=quantile(waits, 0.99) * 1000,
        unit="ms",
        goal=goal,
        remark=f"the median is {quantile(waits, 0.5) * 1000:.0f} ms.",
    )


async def _waits(
    players: Players, ask: Callable[[str], Awaitable[None]], seconds: float
) -> list[float]:
    """Ask at the rate; return how long each waited for its first phase command."""
    batches = await _ready_batches(players, int(RATE * seconds))
    start = time.monotonic()
    asking = []
    for number, batch in enumerate(batches):
        await asyncio.sleep(max(0.0, start + number / RATE - time.monotonic()))
        asking.append(asyncio.ensure_future(ask(batch)))
    await asyncio.gather(*asking)
    await until("commanded", players.commanded, batches, SETTLED_SECONDS)
    return [players.commanded[one] - players.asked[one] for one in batches]


async def _measure_throughput(players: Players) -> Figure:
    batches = await _ready_batches(players, RUNS)
    start = time.monotonic()
    await asyncio.gather(*map(players.command, batches))
    await until("completed", players.completed, batches, RUNS / 5 + SETTLED_SECONDS)
    seconds = max(players.completed[one] for one in batches) - start
    return Figure(
        work=f"{RUNS:,} runs asked for at once, to their completions",
        measured=RUNS / seconds,
        unit="runs/s",
    )


async def _open_runs(players: Players) -> None:
    """Have that many runs wait for an outcome."""
    players.are_answering = False
    batches = await _ready_batches(players, OPEN_RUNS)
    await asyncio.gather(*map(players.command, batches))
    await until("commanded", players.commanded, batches, OPEN_RUNS / 5 + SETTLED_SECONDS)
    players.are_answering = True


async def _ready_batches(players: Players, count: int) -> list[str]:
    """Return batches that BOS knows as ready."""
    batches = [f"batch-{uuid4().hex[:12]}" for _ in range(count)]
    await players.make_ready(batches)
    for batch in batches[-LAST:]:
        await players.until_ready(batch)
    await asyncio.sleep(SETTLING_SECONDS)  # for BCS to have read as far
    return batches

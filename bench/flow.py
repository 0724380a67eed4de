"""The flow: from a click to the first phase, and how many runs a second.

How long does a teacher wait between his click and the first command to a phase, how long BOS, and
how many runs do three services, each one process, complete? Everything is real: gateway, broker,
BOS with its tables and outbox, BCS with Redis and Postgres; a batch has 30 essays, its pipeline two
phases, and each command is answered at once. What is asked at a rate is asked however long the
answers take. All of it, clients included, shares the machine's cores.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from uuid import uuid4

import httpx

from bench.figures import Figure, Goal, quantile
from bench.flow_players import Players
from bench.servers import Servers
from local_stack.flow_neighbours import OWNER
from local_stack.tokens import make_secret, make_token

RATE = 20.0  # a second
SECONDS, QUICK_SECONDS = 20.0, 3.0
RUNS = 1_000  # asked for at once
OPEN_RUNS = 2_000  # which wait for an outcome
LAST = 30  # batches, of whichever partition: each is read in order, so they tell of all
SETTLED_SECONDS, SETTLING_SECONDS = 60.0, 2.0
CLICK_GOAL = Goal(bound=2_000, kind="at most")
UNLIMITED = "1000000"  # one teacher has all batches


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

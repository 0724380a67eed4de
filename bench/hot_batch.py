"""How fast many writers write to one batch.

Each writer applies one event after the other, each of another essay of the same batch; a quarter of
them is in each of four processes, as in four replicas. The limit is a Lua script that writes the
like: the essay if it is not there yet, its document, the count and the queue's entry. Redis runs it
alone, so writers never lose against each other, and the script knows none of the rules.

Writers of one process share its transactions; those of different processes may lose WATCH against
each other and try again, so a few writers in many processes are the slowest case. It is bounded by
what one transaction after the other takes: two round trips and a judgement in between, 0.29 ms, for
the events of two writers. One process of two writers, against which nobody loses, writes 7,000
events/s; four of them 5,200, for some of their tries are lost; one of eight writers 14,700.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count

from redis.asyncio import Redis

from batch_conductor_service.protocols import BatchStateRepositoryProtocol
from batch_conductor_service.startup_setup import build_container
from bench.figures import Figure, Goal, middle, quantile, rounds
from bench.servers import Servers, bcs_settings
from service_libs import event_loop
from service_libs.logging import configure_logging
from tests.support.builders import evidence, update

PROCESSES = 4
WRITERS = (8, 32)
OURS, LUA = "ours", "Lua alone"
TIMES = 3  # as fast as ours Lua may be
P99_MILLISECONDS = 100

# KEYS  the batch; its counts; the essay's document; the queue; what waits; the bytes that wait
# ARGV  the essay; what is said of it; the batch
_SCRIPT = """
local known = redis.call('HGET', KEYS[1], 'e:' .. ARGV[1])
if known ~= ARGV[2] then
  redis.call('HSET', KEYS[1], 'e:' .. ARGV[1], ARGV[2], 'summary', ARGV[2])
  redis.call('SET', KEYS[3], ARGV[2], 'EX', 604800)
end
if not known then
  redis.call('HINCRBY', KEYS[2], 'spellcheck', 1)
end
redis.call('EXPIRE', KEYS[1], 604800)
redis.call('EXPIRE', KEYS[2], 604800)
redis.call('HINCRBY', KEYS[5], ARGV[3], 1)
redis.call('HINCRBY', KEYS[5], '*', 1)
redis.call('INCRBY', KEYS[6], #ARGV[2])
return redis.call('XADD', KEYS[4], '*', 'batch', ARGV[3], 'update', ARGV[2])
"""
_STATEMENT = json.dumps(
    {"steps": {"spellcheck": {"": {"status": "completed", "at": "2026-01-01T12:00:00.000000Z"}}}}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one process does."""

    kind: str
    batch: str
    process: int = 0
    writers: int
    seconds: float


def measure(servers: Servers, is_quick: bool) -> Iterator[Figure]:
    """Yield rates and waits, for few and for many writers."""
    servers.migrate("bcs")
    seconds, turns = (1.0, 1) if is_quick else (3.0, 3)
    for writers in WRITERS:
        rates: dict[str, list[float]] = {OURS: [], LUA: []}
        waits: list[float] = []
        for number, kind in enumerate(rounds(turns, OURS, LUA)):
            task = Task(
                kind=kind,
                batch=f"hot-{writers}-{number}",
                writers=writers // PROCESSES,
                seconds=seconds,
            )
            taken = write(servers, task)
            rates[kind].append(len(taken) / seconds)
            if kind == OURS:
                waits.append(quantile(taken, 0.99) * 1000)
        yield Figure(
            work=f"{writers} writers",
            measured=middle(rates[OURS]),
            unit="events/s",
            limit=(f"{LUA}, {writers} writers", middle(rates[LUA])),
            goal=Goal(bound=1 / TIMES, alarm=0.02),
        )
        yield Figure(
            work=f"{writers} writers: 99 of 100 wait at most",
            measured=middle(waits),
            unit="ms",
            goal=Goal(bound=P99_MILLISECONDS, kind="at most"),
        )


def write(servers: Servers, task: Task) -> list[float]:
    """Have the processes write at the same time; return how long each event took."""
    writing = [_start(servers, replace(task, process=number)) for number in range(PROCESSES)]
    for process in writing:
        _hear(process)  # that it is ready
    for process in writing:
        _tell(process, "go")
    return [seconds for process in writing for seconds in json.loads(_hear(process))]


def _start(servers: Servers, task: Task) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.hot_batch"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _tell(process, json.dumps({"environment": servers.settings(), "task": asdict(task)}))
    return process


def _tell(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _hear(process: "subprocess.Popen[str]") -> str:
    """Return the next line that the process says.

    Raises:
        RuntimeError: it ended without one.
    """
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("A process of the writers failed.")
    return line


async def _run(environment: dict[str, str], task: Task) -> None:
    settings = bcs_settings(environment)
    container = build_container(settings)
    repository = await container.get(BatchStateRepositoryProtocol)
    async with Redis.from_url(settings.redis_url.get_secret_value()) as redis:
        script = redis.register_script(_SCRIPT)

        async def apply(essay: str) -> object:
            said = evidence(essay, storage_id=f"corrected-{essay}")
            return await repository.apply([update(task.batch, said)])

        async def run_script(essay: str) -> object:
            names = ("batch", "counts", f"essay:{essay}", "queue", "waiting", "bytes")
            where = [f"bench:{task.batch}:{name}" for name in names]
            return await script(keys=where, args=[essay, _STATEMENT, task.batch])

        write_one = apply if task.kind == OURS else run_script
        await write_one(f"warming-{task.process}")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        taken = await asyncio.gather(*(_write(write_one, task, n) for n in range(task.writers)))
    print(json.dumps([seconds for one in taken for seconds in one]), flush=True)
    await container.close()


async def _write(
    write_one: Callable[[str], Awaitable[object]], task: Task, writer: int
) -> list[float]:
    """Write until the time is over; return how long each event took."""
    taken, end = [], time.monotonic() + task.seconds
    for number in count():
        began_at = time.monotonic()
        if began_at >= end:
            break
        await write_one(f"essay-{task.process}-{writer}-{number}")
        taken.append(time.monotonic() - began_at)
    return taken


def main() -> None:
    """Write what the parent asks for, when it says so."""
    configure_logging("WARNING")
    asked = json.loads(sys.stdin.readline())
    event_loop.run(_run(asked["environment"], Task(**asked["task"])))


if __name__ == "__main__":
    main()

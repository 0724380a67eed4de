"""Back after a crash: from `kill -9` of BCS until the group is behind in nothing.

A process is killed while 500 events a second come, started again at once, and is back when all that
was sent, until a second after the kill, is applied, in Postgres, and committed. The broker is
Apache Kafka as it is delivered; the session is the service's own, 10 seconds.

Who starts where another died has that one leave the group, and takes what its worker had in hand.
A successor elsewhere cannot: nobody knows that the dead one is dead until its session ends, and
what its worker had in hand is its own for 30 seconds.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack

from bench.broker import apache_kafka, onlooker, send_at_rate
from bench.figures import Figure, Goal, middle, rounds
from bench.servers import Servers
from local_stack.ports import find_free_port
from local_stack.service import ServiceProcess
from tests.support.builders import RecordedEvent, registered, spellchecked

PARTITIONS = 4
PER_SECOND = 500.0
BEFORE_SECONDS, AFTER_SECONDS = 2, 1  # of sending, until the kill and from it on
ROUNDS = 3
GOAL = Goal(bound=5, kind="at most")
SAME, OTHER, BESIDE = "at its address", "at another address", "at its address, one of two"


def measure(servers: Servers, *, is_quick: bool) -> Iterator[Figure]:
    """Measure a successor at the same address, at another one, and beside a second process."""
    if is_quick:
        return
    with apache_kafka(servers, partitions=PARTITIONS) as own:
        if own is None:
            return
        taken: dict[str, list[float]] = {SAME: [], OTHER: [], BESIDE: []}
        for name in rounds(ROUNDS, *taken):
            taken[name].append(_recover(own, name))
    yield Figure(work=f"back {SAME}", measured=middle(taken[SAME]), unit="s", goal=GOAL)
    yield Figure(work=f"back {BESIDE}", measured=middle(taken[BESIDE]), unit="s", goal=GOAL)
    yield Figure(work=f"back {OTHER}", measured=middle(taken[OTHER]), unit="s")


def _recover(servers: Servers, name: str) -> float:
    """Return how long it takes until all is well again."""
    with ExitStack() as running:
        dying = _process(servers, find_free_port())
        dying.migrate()
        dying.start()
        running.callback(dying.stop)
        if name == BESIDE:
            running.enter_context(servers.serving("bcs"))
        successor = _process(servers, find_free_port()) if name == OTHER else dying
        running.callback(successor.stop)
        return asyncio.run(_kill_and_wait(servers.kafka, dying, successor, 1 + (name == BESIDE)))


def _process(servers: Servers, port: int) -> ServiceProcess:
    where = servers.directory / f"recovery-{port}"
    return ServiceProcess("bcs", where, servers.settings(), port=port)


async def _kill_and_wait(
    kafka: str, dying: ServiceProcess, successor: ServiceProcess, members: int
) -> float:
    async with onlooker(kafka) as seen:
        await seen.wait_for_members(members)
        sending = asyncio.create_task(send_at_rate(kafka, _events(), PER_SECOND))
        await asyncio.sleep(BEFORE_SECONDS)
        dying.kill()
        killed = time.monotonic()
        successor.launch()
        await sending
        await seen.wait_until_current()
        return time.monotonic() - killed


def _events() -> list[RecordedEvent]:
    batch = f"recovery-{time.time_ns()}"
    essays = [f"{batch}-{n}" for n in range(int(PER_SECOND * (BEFORE_SECONDS + AFTER_SECONDS)))]
    return [
        registered(batch, len(essays), essays=essays),
        *(spellchecked(batch, essay) for essay in essays),
    ]

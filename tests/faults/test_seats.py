"""Who dies at a seat is not waited for: on Apache Kafka itself, and by a service that was killed."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from local_stack.ports import find_free_port
from tests.support.faults.kraft import KraftBroker
from tests.support.faults.loads import load
from tests.support.faults.servers import process_of
from tests.support.faults.world import World
from tests.support.members import Bench
from tests.support.seats import SeatContract
from tests.support.sources import KafkaSources

# As Kafka is delivered: a group that becomes empty waits so long for members.
DELAY = {"group.initial.rebalance.delay.ms": "3000"}
SESSION_SECONDS = 60
BACK_SECONDS = 30  # of which most is what a busy machine takes to start a process


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KraftBroker]:
    port = find_free_port()
    directory: Path = tmp_path_factory.mktemp("seats") / "kafka"
    started = KraftBroker(directory, proxied_port=port, advertised_port=port, properties=DELAY)
    started.start()
    yield started
    started.remove()


@pytest.fixture
async def bench(broker: KraftBroker) -> AsyncIterator[Bench]:
    sources = KafkaSources(broker.bootstrap_servers)
    await sources.create_topic()
    async with AsyncExitStack() as stack:
        yield Bench(sources, stack)


class TestSeatsInKafka(SeatContract):
    """As the broker in memory has them."""


async def test_a_killed_service_is_back_long_before_its_session_ends(world: World) -> None:
    """Also what its worker had in hand, which others take over later, too."""
    patient = {"KAFKA_SESSION_TIMEOUT_SECONDS": SESSION_SECONDS, "PERSISTENCE_TAKEOVER_SECONDS": 60}
    await world.servers.run(process_of(world.member).stop)
    world.member.set(patient)
    await world.servers.run(world.member.start)
    early, late = load(35)
    await world.relay.send(early)
    await asyncio.sleep(0.3)
    await world.servers.run(process_of(world.member).kill)
    killed = time.monotonic()

    await world.servers.run(world.member.start)
    await world.relay.send(late)
    await world.onlooker.wait_until_quiet(BACK_SECONDS)

    assert time.monotonic() - killed < BACK_SECONDS
    await world.recover_and_check()

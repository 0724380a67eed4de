"""Who dies at a seat is not waited for: on Apache Kafka itself, and by a killed service."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from local_stack.ports import find_free_port
from tests.support.faults.kraft import KraftBroker
from tests.support.faults.loads import load
from tests.support.faults.servers import process_of
from tests.support.faults.world import World
from tests.support.members import Bench
from tests.support.seats import SeatContract
from tests.support.sources import KafkaSources
from tests.support.waiting import eventually

# As Kafka is delivered: a group that becomes empty waits so long for members.
DELAY = {"group.initial.rebalance.delay.ms": "3000"}
BACK_SECONDS = 30  # half a session, of which most is what a busy machine takes to start a process


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
    """It begins with what its worker had in hand, too, which others take over only later."""
    patient: dict[str, Any] = {
        "KAFKA_SESSION_TIMEOUT_SECONDS": 60,
        "PERSISTENCE_TAKEOVER_SECONDS": 60,
    }
    await world.servers.run(process_of(world.member).stop)
    await world.servers.run(partial(world.member.start, FAILPOINT="persist.written", **patient))
    early, late = load(35)
    await world.relay.send(early)
    await eventually(lambda: not world.member.process.is_running)

    await world.servers.run(partial(world.member.start, **patient))
    await world.relay.send(late)
    await world.onlooker.wait_until_quiet(BACK_SECONDS)

    assert "predecessor_dismissed" in world.member.log
    await world.recover_and_check()

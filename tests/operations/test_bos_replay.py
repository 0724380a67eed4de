"""Reading requests again as an operator asks for it, with a real broker: running, and not."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from common_core.topics import dlq_topic_name
from local_stack.kafka import KafkaBroker
from tests.support.bos_commands import bos
from tests.support.bos_replaying import REQUESTS, Place, measured
from tests.support.builders import RecordedEvent
from tests.support.kafka import (
    produce,
    read_records,
    until,
)

HELD = {"topic": dlq_topic_name(REQUESTS), "reason": "not_json", "outcome": "already_held"}


@pytest.fixture
async def place(own_kafka: KafkaBroker, bos_database_url: str, bos_engine: AsyncEngine) -> Place:
    place = Place(own_kafka.bootstrap_servers, bos_database_url, bos_engine)
    await place.create_topics()
    return place


async def test_a_running_consumer_reads_again_and_nothing_is_done_twice(place: Place) -> None:
    garbage = RecordedEvent(topic=REQUESTS, key=b"c", value=b"not JSON")
    async with place.consuming() as metrics:
        await place.ask("a", "b")
        await produce(place.servers, [garbage], partition=0)
        await place.ask("d")
        await place.until_committed(4)
        asked = measured(metrics, "bos_requests_total", decision="new_run")

        code, told, errors = await place.bos(
            "replay", "--from-offset", f"{REQUESTS}:0:1", "--apply", "--json"
        )
        await until(lambda: measured(metrics, "bos_requests_total", decision="same_request") == 2)
        await until(lambda: measured(metrics, "bos_dlq_messages_total", **HELD) == 1)
        await place.until_committed(4)

        assert code == 0, errors
        assert told[-1]["members_asked"] is True
        assert (told[-1]["records"], told[-1]["waiting"]) == (3, [])
        assert asked == 3
        assert await place.count_runs() == 3
    [letter] = await read_records(place.servers, dlq_topic_name(REQUESTS), 1)
    headers = dict(letter.headers)
    assert headers["bos_dlq-original-topic"] == REQUESTS.encode()
    assert headers["bos_dlq-original-offset"] == b"2"


async def test_a_group_that_was_stopped_reads_again_when_it_starts(place: Place) -> None:
    """This broker takes its last members for alive a while, so the next ones are asked."""
    async with place.consuming():
        await place.ask("a", "b", "c")
        await place.until_committed(3)

    planned = await place.bos("replay", "--from-offset", f"{REQUESTS}:0:1", "--json")
    await place.until_committed(3)
    code, told, errors = await place.bos(
        *("replay", "--from-time", "2020-01-01", "--topic", REQUESTS),
        *("--apply", "--wait", "0", "--json"),
    )

    assert (planned[0], planned[1][-1]["applied"]) == (0, False)
    assert code == (1 if told[-1]["waiting"] else 0), errors
    assert (told[-1]["applied"], told[-1]["records"]) == (True, 3)
    async with place.consuming() as metrics:
        await until(lambda: measured(metrics, "bos_requests_total", decision="same_request") == 3)
        assert await place.count_runs() == 3


async def test_a_topic_that_is_not_consumed_is_refused(place: Place) -> None:
    code, told, errors = await place.bos("replay", "--from-offset", "elsewhere:0:1", "--apply")

    assert (code, told) == (2, [])
    assert "'elsewhere' is no topic that is consumed" in errors
    assert REQUESTS in errors


async def test_a_broker_that_is_away_is_said_in_one_line(bos_database_url: str) -> None:
    ended = await bos(
        bos_database_url,
        *("replay", "--from-offset", f"{REQUESTS}:0:1"),
        BOS_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1",
    )

    assert ended.code == 2
    assert len(ended.errors.strip().splitlines()) == 1

"""`known_until` and `not_before`, as callers see them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from dishka import Provider, Scope

from batch_conductor_service.consuming.group_freshness import GroupFreshness
from batch_conductor_service.domain.freshness import GroupPromises, PartitionFreshness
from batch_conductor_service.protocols import FreshnessProtocol
from common_core.records import TopicLook
from service_libs.timing import SystemClock
from tests.support.api import TestedApp
from tests.support.builders import evidence, registration, update

PARTITION = ("topic", 0)
SECOND = timedelta(seconds=1)


class Group(TestedApp):
    """An application in a group whose freshness is what the test says; one question at a time."""

    __test__ = False

    def __init__(self) -> None:
        self.freshness = GroupFreshness(SystemClock(), max_staleness_seconds=30)
        provider = Provider(scope=Scope.APP)
        provider.provide(lambda: self.freshness, provides=FreshnessProtocol)
        super().__init__(provider, http_timeout=9, max_concurrent_requests=1)

    def know(self, until: datetime) -> None:
        now = datetime.now(UTC)
        self.freshness.note_look(TopicLook(asked_at=now, partitions=frozenset({PARTITION})))
        promise = PartitionFreshness(applied_until=until)
        self.freshness.note_promises(GroupPromises(partitions={PARTITION: promise}))


@pytest.fixture
async def group() -> AsyncIterator[Group]:
    group = Group()
    await group.repository.apply([update("batch-1", registration(1), evidence("essay-1"))])
    yield group
    await group.container.close()


async def test_without_kafka_it_is_the_time_of_the_answer(tested: TestedApp) -> None:
    before = datetime.now(UTC)

    body = await (await tested.define()).get_json()

    assert before <= datetime.fromisoformat(body["known_until"]) <= datetime.now(UTC)


async def test_without_kafka_what_has_happened_is_known(tested: TestedApp) -> None:
    body = await (await tested.define(not_before=datetime.now(UTC).isoformat())).get_json()

    assert body["degraded"] is False


async def test_an_answer_that_nobody_knows_to_be_fresh_skips_nothing(group: Group) -> None:
    body = await (await group.define(requested_pipeline="spellcheck")).get_json()

    assert body["known_until"] is None
    assert body["degraded"] is True
    assert body["final_pipeline"] == ["spellcheck"]
    assert body["phases"][0]["reason"] == "state_unknown"
    assert [resolution.skipped for resolution in group.announcer.resolutions] == [[]]


async def test_an_answer_that_is_fresh_says_so(group: Group) -> None:
    until = datetime.now(UTC) - SECOND
    group.know(until)

    body = await (await group.define(requested_pipeline="spellcheck")).get_json()

    assert datetime.fromisoformat(body["known_until"]) == until
    assert body["degraded"] is False
    assert body["final_pipeline"] == []


@pytest.mark.parametrize("sign", ["Z", "z", "+00:00", ""])
async def test_what_the_caller_knows_of_is_waited_for(group: Group, sign: str) -> None:
    moment = datetime.now(UTC) - 2 * SECOND
    group.know(moment - SECOND)
    not_before = moment.replace(tzinfo=None).isoformat() + sign
    asking = asyncio.create_task(group.define(not_before=not_before))
    await asyncio.sleep(0.05)
    assert not asking.done()
    group.know(moment)

    body = await (await asyncio.wait_for(asking, 1)).get_json()

    assert body["degraded"] is False
    assert body["final_pipeline"] == ["cj_assessment"]


async def test_who_waits_takes_nobodys_place(group: Group) -> None:
    group.know(datetime.now(UTC))
    later = (datetime.now(UTC) + 60 * SECOND).isoformat()
    waiting = asyncio.create_task(group.define(not_before=later))
    await asyncio.sleep(0.05)

    assert (await group.define()).status_code == 200

    assert not waiting.done()
    waiting.cancel()


async def test_after_the_wait_nothing_is_skipped(group: Group) -> None:
    """Half of the time that there is to answer: here two seconds, and never more than five."""
    group.know(datetime.now(UTC))
    later = (datetime.now(UTC) + 60 * SECOND).isoformat()

    body = await (
        await asyncio.wait_for(group.define(requested_pipeline="spellcheck", not_before=later), 3)
    ).get_json()

    assert body["degraded"] is True
    assert body["phases"][0]["reason"] == "state_unknown"
    assert [resolution.skipped for resolution in group.announcer.resolutions] == [[]]

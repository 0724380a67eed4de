"""The hard cases of the flow from a teacher's click on, through all three services."""

import asyncio
import signal
import uuid
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from service_libs.failpoints import EXIT_CODE
from tests.support.failpoints import find_failpoints
from tests.support.faults.proxy import FaultyProxy, ProxyThread, kafka_produce
from tests.support.flow import Journal, Neighbours, neighbours_of
from tests.support.flow_waiting import (
    ESSAYS,
    judged,
    new_batch,
    until_audited,
    until_commanded,
    until_ended,
)
from tests.support.gateway.platform import (
    SEND_SECONDS,
    Platform,
    Teacher,
    clients_of,
    platform_at,
)
from tests.support.gateway.streams import listening
from tests.support.gateway.tokens import bearer
from tests.support.processes import address_of

KILL_POINTS = ("gateway.claimed", "gateway.acknowledged", "gateway.completed")
CLICKS = 50
TAKEN = 5  # of them, by the limit of ten seconds

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Everything but the gateway, for all tests: each has batches and teachers of its own."""
    directory = tmp_path_factory.mktemp("platform")
    directory.chmod(0o755)  # PostgreSQL runs as another user
    with platform_at(directory) as platform:
        yield platform


@pytest.fixture(scope="module")
def gateways(platform: Platform) -> Iterator[tuple[str, str]]:
    """Two replicas of the gateway, which no test breaks."""
    with platform.gateway() as (_, one), platform.gateway() as (_, two):
        yield one, two


def phases(journal: Journal, batch: str) -> list[str]:
    """Return which phases of the batch were commanded; one that was sent twice counts once."""
    commands = {command["event_id"]: phase for phase, command in journal.commands(batch)}
    return list(commands.values())


def ends(journal: Journal, batch: str) -> list[str]:
    """Return how the runs of the batch ended, each once."""
    ended = {one["event_id"]: one["data"]["final_status"] for one in journal.completions(batch)}
    return list(ended.values())


async def judged_at_the_end(
    platform: Platform, neighbours: Neighbours, *batches: str, runs: int = 1
) -> list[str]:
    """Return what is wrong once the end of so many runs of each batch was reported."""
    for batch in batches:
        await until_ended(neighbours, batch, runs)
    return await judged(neighbours, platform.bos, *batches)


async def test_case_1_of_fifty_clicks_at_two_replicas_five_are_taken_and_are_one_run(
    platform: Platform, gateways: tuple[str, str]
) -> None:
    batch = new_batch()
    async with clients_of(*gateways) as clients, neighbours_of(platform.stack) as neighbours:
        neighbours.silent = {"spellcheck"}
        teacher = Teacher(clients[0])
        await teacher.register(neighbours, batch)
        replicas = (teacher, Teacher(clients[1], name=teacher.name))
        answers = await asyncio.gather(*(replicas[n % 2].click(batch) for n in range(CLICKS)))
        await until_commanded(neighbours, batch, 1)
        while_it_runs = await teacher.until(
            batch, lambda status: len(status["details"]["requests"]) == TAKEN
        )
        await neighbours.answer(*neighbours.journal.commands(batch)[0])
        ended = await teacher.until_ended(batch)
        faults = await judged_at_the_end(platform, neighbours, batch)

    assert Counter(one.status_code for one in answers) == {202: TAKEN, 429: CLICKS - TAKEN}
    taken = {one.json()["request_id"] for one in answers if one.is_success}
    assert len(taken) == TAKEN
    for status, state in ((while_it_runs, "running"), (ended, "completed_successfully")):
        requests = status["details"]["requests"]
        assert {one["request_id"] for one in requests} == taken
        assert {one["state"] for one in requests} == {state}
        assert len({one["correlation_id"] for one in requests}) == 1
    assert phases(neighbours.journal, batch) == ["spellcheck", "nlp"]
    assert ends(neighbours.journal, batch) == ["completed_successfully"]
    assert faults == []


async def test_case_1_a_double_click_under_one_key_is_one_request_and_another_body_is_none(
    platform: Platform, gateways: tuple[str, str]
) -> None:
    batch, other, key = new_batch(), new_batch(), "the one click"
    async with clients_of(*gateways) as clients, neighbours_of(platform.stack) as neighbours:
        teacher = Teacher(clients[0])
        for one in (batch, other):
            await teacher.register(neighbours, one)
        replicas = (teacher, Teacher(clients[1], name=teacher.name))
        double = await asyncio.gather(*(one.click_until_taken(batch, key) for one in replicas))
        another_body = await teacher.click(batch, "cj_assessment", key=key)
        another_batch = await teacher.click(other, key=key)
        status = await teacher.until_ended(batch)
        untouched = await teacher.look(other)
        faults = await judged_at_the_end(platform, neighbours, batch)

    assert [one.status_code for one in double] == [202, 202]
    assert double[0].json() == double[1].json()
    for refused in (another_body, another_batch):
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
        assert refused.json()["retryable"] is False
    [request] = status["details"]["requests"]
    assert request["request_id"] == double[0].json()["request_id"]
    assert untouched.json()["details"]["requests"] == []
    assert phases(neighbours.journal, batch) == ["spellcheck", "nlp"]
    assert faults == []


async def test_case_2_a_click_survives_the_gateway_s_death_before_and_after_the_broker_s_word(
    platform: Platform, gateways: tuple[str, str]
) -> None:
    """Whoever is left gives the retry the same id, and it is one run."""
    batches = {point: new_batch() for point in KILL_POINTS}
    async with clients_of(gateways[0]) as (client,), neighbours_of(platform.stack) as neighbours:
        teachers = {point: Teacher(client) for point in KILL_POINTS}
        for point, teacher in teachers.items():
            await teacher.register(neighbours, batches[point])

        async def survive(point: str) -> httpx.Response:
            teacher, batch = teachers[point], batches[point]
            with platform.dying_gateway(point) as dying:
                address = await asyncio.to_thread(address_of, dying)
                async with clients_of(address) as (at_the_dying,):
                    with pytest.raises(httpx.TransportError):
                        await Teacher(at_the_dying, name=teacher.name).click(batch, key=point)
                assert await asyncio.to_thread(dying.wait) == EXIT_CODE, point
            at_once = await teacher.click(batch, key=point)
            if at_once.is_success:
                return at_once
            assert at_once.json()["code"] == "request_in_flight", point
            await asyncio.sleep(SEND_SECONDS + 1)  # for that long somebody else may be sending it
            return await teacher.click_until_taken(batch, point)

        answers = await asyncio.gather(*map(survive, KILL_POINTS))
        statuses = [await teachers[one].until_ended(batches[one]) for one in KILL_POINTS]
        again = [await teachers[one].click_until_taken(batches[one], one) for one in KILL_POINTS]
        faults = await judged_at_the_end(platform, neighbours, *batches.values())

    for point, answer, status, once_more in zip(KILL_POINTS, answers, statuses, again, strict=True):
        assert (answer.status_code, once_more.status_code) == (202, 202), point
        assert once_more.json() == answer.json(), point
        [request] = status["details"]["requests"]
        assert request["request_id"] == answer.json()["request_id"], point
        assert request["correlation_id"] == answer.json()["correlation_id"], point
        assert phases(neighbours.journal, batches[point]) == ["spellcheck", "nlp"], point
        assert ends(neighbours.journal, batches[point]) == ["completed_successfully"], point
    assert faults == []


def test_every_failpoint_of_the_gateway_is_tried() -> None:
    assert set(KILL_POINTS) == {one for one in find_failpoints() if one.startswith("gateway.")}


async def test_case_2_an_acknowledgement_that_is_lost_is_no_second_run(
    platform: Platform, gateways: tuple[str, str]
) -> None:
    """The broker has the click, and the gateway does not know; its teacher is told to try again."""
    batch, key = new_batch(), "not heard of"
    async with clients_of(gateways[0]) as (client,), neighbours_of(platform.stack) as neighbours:
        teacher = Teacher(client)
        await teacher.register(neighbours, batch)
        platform.kafka.lose_replies(kafka_produce, 1)
        first = await teacher.click(batch, key=key)
        lost = platform.kafka.fired
        platform.kafka.heal()
        second = await teacher.click_until_taken(batch, key)
        status = await teacher.until_ended(batch)
        faults = await judged_at_the_end(platform, neighbours, batch)

    assert lost
    assert (first.status_code, first.json()["code"]) == (503, "not_acknowledged")
    assert first.json()["retryable"] is True
    assert second.status_code == 202
    [request] = status["details"]["requests"]
    assert request["request_id"] == second.json()["request_id"]
    assert phases(neighbours.journal, batch) == ["spellcheck", "nlp"]
    assert faults == []


async def test_case_7_a_click_with_nothing_to_do_is_accepted_and_its_status_says_so(
    platform: Platform, gateways: tuple[str, str]
) -> None:
    batch = new_batch()
    async with clients_of(gateways[0]) as (client,), neighbours_of(platform.stack) as neighbours:
        teacher = Teacher(client)
        await teacher.register(neighbours, batch)
        await teacher.click(batch)
        await teacher.until_ended(batch)
        answer = await teacher.click(batch)
        status = await teacher.until_ended(batch, 2)
        faults = await judged_at_the_end(platform, neighbours, batch, runs=2)

    assert answer.status_code == 202
    newest, _ = status["details"]["requests"]
    assert newest["request_id"] == answer.json()["request_id"]
    assert (newest["pipeline"], newest["state"]) == ("nlp", "nothing_to_do")
    assert status["status"] == "completed_successfully"
    assert [(one["status"], one["skip_reason"]) for one in status["details"]["phases"]] == [
        ("skipped_by_user_config", "already_completed")
    ] * 2
    assert status["details"]["current_phase"] is None
    assert phases(neighbours.journal, batch) == ["spellcheck", "nlp"]
    assert ends(neighbours.journal, batch) == ["completed_successfully"] * 2
    assert neighbours.journal.completions(batch)[-1]["data"]["completed_phases"] == []
    assert faults == []


async def test_case_12_a_click_as_soon_as_the_page_shows_the_end_repeats_nothing(
    platform: Platform, gateways: tuple[str, str]
) -> None:
    """A page that hears of the end by its stream, and asks for the next pipeline that moment."""
    batches = [new_batch() for _ in range(3)]
    async with clients_of(gateways[0]) as (client,), neighbours_of(platform.stack) as neighbours:

        async def go_on(batch: str) -> None:
            teacher = Teacher(client)
            await teacher.register(neighbours, batch)
            async with listening(gateways[0], batch, bearer(teacher.name)) as stream:
                await teacher.click(batch)
                count = 1
                while not stream.events or stream.events[-1]["status"] != "completed_successfully":
                    await stream.until(count := count + 1, seconds=30)
                await teacher.click(batch, "ai_feedback")
            await teacher.until_ended(batch, 2)

        await asyncio.gather(*map(go_on, batches))
        faults = await judged_at_the_end(platform, neighbours, *batches, runs=2)

    for batch in batches:
        assert phases(neighbours.journal, batch) == ["spellcheck", "nlp", "ai_feedback"]
        corrected = {one: f"corrected-{one}" for one in ESSAYS}
        assert neighbours.journal.texts(batch, "ai_feedback") == corrected
    assert faults == []


async def test_a_stranger_learns_nothing_of_a_batch_and_starts_nothing_in_it(
    platform: Platform, gateways: tuple[str, str]
) -> None:
    """Neither while BOS can be asked whose it is, nor while it cannot: then BOS decides alone."""
    batch = new_batch()
    async with clients_of(gateways[0]) as (client,), neighbours_of(platform.stack) as neighbours:
        owner, stranger = Teacher(client), Teacher(client)
        await owner.register(neighbours, batch)
        answers = [
            *(await stranger.click(batch), await stranger.click(new_batch())),
            *(await stranger.look(batch), await stranger.look(new_batch())),
        ]
        with platform.gateway(BOS_URL="http://127.0.0.1:1") as (_, address):
            async with clients_of(address) as (cut_off,):
                unasked = await Teacher(cut_off, name=stranger.name).click(batch)
        await until_audited(platform.stack, stranger.name)
        await owner.click(batch, "cj_assessment")
        status = await owner.until_ended(batch)
        faults = await judged_at_the_end(platform, neighbours, batch)

    assert {one.status_code for one in answers} == {404}
    told = [dict(one.json(), correlation_id="") for one in answers]
    assert told == [told[0]] * len(told)
    assert unasked.status_code == 202
    [request] = status["details"]["requests"]
    assert request["pipeline"] == "cj_assessment"
    assert phases(neighbours.journal, batch) == ["spellcheck", "cj_assessment"]
    assert faults == []


async def test_the_gateway_starts_without_kafka_and_takes_the_same_click_once_it_is_there(
    platform: Platform,
) -> None:
    batch, key = new_batch(), str(uuid.uuid4())
    thread, way = ProxyThread(), FaultyProxy(platform.kafka.port)
    way.is_refusing = True
    thread.add(way)
    servers = f"127.0.0.1:{way.port}"
    with platform.gateway(KAFKA_BOOTSTRAP_SERVERS=servers) as (process, address):
        async with clients_of(address) as (client,), neighbours_of(platform.stack) as neighbours:
            teacher = Teacher(client)
            await teacher.register(neighbours, batch)
            refused = await teacher.click(batch, key=key)
            way.heal()
            taken = await teacher.click_until_taken(batch, key)
            status = await teacher.until_ended(batch)
    thread.close()

    assert (refused.status_code, refused.json()["code"]) == (503, "not_acknowledged")
    assert taken.status_code == 202
    [request] = status["details"]["requests"]
    assert request["request_id"] == taken.json()["request_id"]
    assert phases(neighbours.journal, batch) == ["spellcheck", "nlp"]
    assert not [line for line in process.log if line["level"] in {"error", "critical"}]


async def test_without_its_store_the_gateway_limits_for_itself_and_one_click_stays_one(
    platform: Platform, gateways: tuple[str, str]
) -> None:
    batch, other = new_batch(), new_batch()
    async with clients_of(*gateways) as clients, neighbours_of(platform.stack) as neighbours:
        teacher, hasty = Teacher(clients[0]), Teacher(clients[0])
        await teacher.register(neighbours, batch)
        await hasty.register(neighbours, other)
        platform.redis.kill()
        many = await asyncio.gather(*(hasty.click(other) for _ in range(CLICKS)))
        elsewhere = Teacher(clients[1], name=teacher.name)
        double = [await one.click_until_taken(batch, "one") for one in (teacher, elsewhere)]
        statuses = [await teacher.until_ended(batch), await hasty.until_ended(other)]
        await asyncio.to_thread(platform.redis.start)
        again = await elsewhere.click_until_taken(batch, "one")
        faults = await judged_at_the_end(platform, neighbours, batch, other)

    assert Counter(one.status_code for one in many) == {202: TAKEN, 429: CLICKS - TAKEN}
    assert [one.status_code for one in (*double, again)] == [202] * 3
    assert len({one.json()["request_id"] for one in (*double, again)}) == 1
    assert [len(one["details"]["requests"]) for one in statuses] == [1, TAKEN]
    assert phases(neighbours.journal, batch) == ["spellcheck", "nlp"]
    assert faults == []


async def test_a_gateway_that_is_told_to_stop_loses_no_click_and_ends_its_streams(
    platform: Platform, gateways: tuple[str, str]
) -> None:
    """Clicks are on their way to the broker, and pages listen, when it is told."""
    batches = [new_batch() for _ in range(4)]
    with platform.gateway(KAFKA_SEND_TIMEOUT_SECONDS=5) as (process, address):
        async with clients_of(address) as (client,), neighbours_of(platform.stack) as neighbours:
            teachers = {batch: Teacher(client) for batch in batches}
            for batch, teacher in teachers.items():
                await teacher.register(neighbours, batch)
            async with listening(address, batches[0], bearer(teachers[batches[0]].name)) as stream:
                await stream.until(1)
                platform.kafka.delay_seconds = 0.4
                clicking = [
                    asyncio.create_task(one.click(batch)) for batch, one in teachers.items()
                ]
                await asyncio.sleep(0.15)
                assert not any(one.done() for one in clicking)
                process.signal(signal.SIGTERM)
                answers = await asyncio.gather(*clicking)
                platform.kafka.heal()
                await stream.until_ended(10)
            assert await asyncio.to_thread(process.wait) == 0
            async with clients_of(gateways[0]) as (other,):
                for batch, answer in zip(batches, answers, strict=True):
                    teacher = Teacher(other, name=teachers[batch].name)
                    [request] = (await teacher.until_ended(batch))["details"]["requests"]
                    assert request["request_id"] == answer.json()["request_id"]

    assert [one.status_code for one in answers] == [202] * len(batches)
    assert process.log[-1]["event"] == "stopped"
    assert {tuple(phases(neighbours.journal, batch)) for batch in batches} == {
        ("spellcheck", "nlp")
    }

"""A failure waits in Kafka, and one of two replicas, or both, do not get to it.

What each replica answers over HTTP, with all servers real.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest

from common_core.topics import EventName, topic_name
from tests.support.builders import RecordedEvent, registered, spellchecked
from tests.support.faults.servers import FaultServers, Member, pause, process_of, resume
from tests.support.kafka import produce, unique
from tests.support.waiting import eventually

SPELLCHECK = topic_name(EventName.SPELLCHECK_PHASE_COMPLETED)
STALENESS_SECONDS = 3
SETTINGS: dict[str, Any] = {
    "MAX_STALENESS_SECONDS": STALENESS_SECONDS,
    "DLQ_MIN_INVALID_RECORDS": 5,
    "PERSISTENCE_QUEUE_HIGH_WATER": 20,
}
ESSAYS = [f"e{number}" for number in range(1, 9)]


@dataclass
class Answers:
    """What both replicas are asked, and said."""

    servers: FaultServers
    client: httpx.AsyncClient
    batch: str = field(default_factory=lambda: unique("batch"))

    async def ask(self, member: Member, not_before: datetime | None = None) -> dict[str, Any]:
        question = {"batch_id": self.batch, "requested_pipeline": "spellcheck"}
        if not_before is not None:
            question["not_before"] = not_before.isoformat()
        answer = await self.client.post(
            f"{member.address}/internal/v1/pipelines/define", json=question
        )
        body: dict[str, Any] = answer.json()
        return body

    async def send(self, events: list[RecordedEvent]) -> datetime:
        """Return when the broker has acknowledged them all."""
        await produce(self.servers.kafka.bootstrap_servers, events)
        return datetime.now(UTC)

    async def complete(self) -> None:
        """Have the batch complete, as both replicas say."""
        done = [spellchecked(self.batch, essay) for essay in ESSAYS]
        await self.send([registered(self.batch, len(ESSAYS), essays=ESSAYS), *done])
        for member in self.servers.members:
            await self.until(member, lambda body: body.get("final_pipeline") == [])

    async def fail_all(self) -> datetime:
        """Have every essay fail; whichever partition it is in."""
        later = datetime.now(UTC) + timedelta(seconds=1)
        return await self.send([spellchecked(self.batch, e, "failed", later) for e in ESSAYS])

    async def until(
        self, member: Member, holds: Callable[[dict[str, Any]], bool], *, what: str = "the answer"
    ) -> None:
        async def is_said() -> bool:
            with suppress(httpx.HTTPError):
                return holds(await self.ask(member))
            return False

        await eventually(is_said, timeout_seconds=60, what=what)

    async def until_unknown(self, member: Member) -> None:
        await self.until(member, _is_unknown, what="a state that is unknown")


def _is_unknown(body: dict[str, Any]) -> bool:
    return body["phases"][0]["reason"] == "state_unknown" and body["degraded"] is True


def _is_known(body: dict[str, Any]) -> bool:
    return body["phases"][0]["reason"] == "failed_essays" and not body["degraded"]


@pytest.fixture
async def answers(servers: FaultServers) -> AsyncIterator[Answers]:
    """Both replicas run, and share the partitions."""
    await servers.heal()
    async with _both(servers), httpx.AsyncClient(timeout=30) as client:
        answers = Answers(servers, client)
        await answers.complete()
        yield answers


@asynccontextmanager
async def _both(servers: FaultServers) -> AsyncIterator[None]:
    for member in servers.members:
        await _start(servers, member)
    try:
        yield
    finally:
        for member in servers.members:
            resume(process_of(member))
            await servers.run(process_of(member).stop)


async def _start(servers: FaultServers, member: Member, **changes: Any) -> None:
    await servers.run(process_of(member).stop)
    await servers.run(lambda: member.start(**SETTINGS, **changes))


@contextmanager
def _paused(member: Member) -> Iterator[None]:
    pause(member.process)
    try:
        yield
    finally:
        resume(member.process)


async def test_one_of_two_stands_still(answers: Answers) -> None:
    """Its session has not run out yet, or it is the other's turn: half of the topic is unread."""
    standing, other = answers.servers.members
    with _paused(standing):
        moment = await answers.fail_all()
        body = await answers.ask(other, moment)

        assert body["final_pipeline"] == ["spellcheck"]
        await answers.until(other, _is_known)
    await answers.until(standing, _is_known)


async def test_one_that_stood_still_believes_nothing_of_its_own_when_it_goes_on(
    answers: Answers,
) -> None:
    standing, other = answers.servers.members
    with _paused(standing):
        moment = await answers.fail_all()
        await answers.until(other, _is_known)

    body = await answers.ask(standing, moment)

    assert body["final_pipeline"] == ["spellcheck"]


async def test_both_have_halted(answers: Answers) -> None:
    garbage = [
        RecordedEvent(topic=SPELLCHECK, key=f"e{n}".encode(), value=b"not JSON") for n in range(400)
    ]
    await answers.send(garbage)
    for member in answers.servers.members:
        await _until_health(answers, member, lambda body: body["consumer"]["state"] == "halted")
    moment = await answers.fail_all()

    for member in answers.servers.members:
        assert _is_unknown(await answers.ask(member, moment))
        await answers.until_unknown(member)
        assert (await answers.client.get(f"{member.address}/livez")).status_code == 200
        assert (await answers.client.get(f"{member.address}/healthz")).status_code == 503
        metrics = (await answers.client.get(f"{member.address}/metrics")).text
        assert 'bcs_consumer_state{state="halted"} 1.0' in metrics
        line = next(line for line in member.log.splitlines() if "background_task_halted" in line)
        for part in (SPELLCHECK, "records", "reasons", "offset"):
            assert part in line
    # A person has looked: all of it may go to the dead letters.
    for member in answers.servers.members:
        await _start(answers.servers, member, DLQ_MAX_INVALID_RATIO=1)
    for member in answers.servers.members:
        await answers.until(member, _is_known)


async def test_both_are_paused(answers: Answers) -> None:
    await answers.servers.run(answers.servers.postgres.kill)
    await answers.send([spellchecked(unique("batch"), f"e{number}") for number in range(200)])
    for member in answers.servers.members:
        await _until_health(answers, member, lambda body: body["consumer"]["state"] == "paused")
    moment = await answers.fail_all()

    for member in answers.servers.members:
        assert _is_unknown(await answers.ask(member, moment))
        await answers.until_unknown(member)
    await answers.servers.heal()
    for member in answers.servers.members:
        await answers.until(member, _is_known)


async def test_not_yet_caught_up_after_a_restart(answers: Answers) -> None:
    for member in answers.servers.members:
        await answers.servers.run(process_of(member).kill)
    await answers.fail_all()
    one = answers.servers.members[0]
    for member in answers.servers.members:
        await answers.servers.run(partial(member.launch, **SETTINGS))

    seen: list[dict[str, Any]] = []

    async def is_known() -> bool:
        with suppress(httpx.HTTPError):
            seen.append(await answers.ask(one))
            return _is_known(seen[-1])
        return False

    await eventually(is_known, timeout_seconds=60, what="catching up")
    assert [body for body in seen if body["final_pipeline"] == []] == []


async def test_kafka_is_away(answers: Answers) -> None:
    await answers.servers.run(answers.servers.kafka.kill)

    for member in answers.servers.members:
        await answers.until_unknown(member)
    await answers.servers.heal()
    for member in answers.servers.members:
        await answers.until(member, lambda body: body["final_pipeline"] == [])


async def test_redis_comes_back_empty_while_postgres_has_not_everything(answers: Answers) -> None:
    """What was applied last is lost until it is read again; nobody promises it meanwhile."""
    await answers.servers.run(answers.servers.postgres.kill)
    await answers.fail_all()
    for member in answers.servers.members:
        await answers.until(member, _is_known)
    await answers.servers.run(answers.servers.redis.kill)
    answers.servers.wipe_redis()
    await answers.servers.heal()

    member = answers.servers.members[0]
    seen: list[dict[str, Any]] = []

    async def is_known() -> bool:
        with suppress(httpx.HTTPError, KeyError):
            body = await answers.ask(member)
            if "final_pipeline" in body:
                seen.append(body)
                return _is_known(body)
        return False

    await eventually(is_known, timeout_seconds=60, what="reading it again")
    assert [body for body in seen if body["final_pipeline"] == []] == []


async def _until_health(
    answers: Answers, member: Member, holds: Callable[[dict[str, Any]], bool]
) -> None:
    async def is_said() -> bool:
        return holds((await answers.client.get(f"{member.address}/healthz")).json())

    await eventually(is_said, timeout_seconds=60, what="the state")

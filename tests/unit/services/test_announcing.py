import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from batch_conductor_service.api.schemas import DefineRequest
from batch_conductor_service.domain.resolution import Resolution
from batch_conductor_service.exceptions import BrokerUnavailableError, UnknownPipelineError
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import StepName
from batch_conductor_service.services.announcing import (
    DRAINING_PUBLISHERS,
    AnnouncementPolicy,
    ResolutionAnnouncer,
)
from batch_conductor_service.supervisor import Supervisor
from tests.support.consuming import ControlledDlq
from tests.support.kafka import until
from tests.support.resolutions import request_for, resolution_of


class ControlledSkips:
    """Keeps the resolutions; fails the next times, or breaks with a fault of its own."""

    def __init__(self) -> None:
        self.published: list[Resolution] = []
        self.failures = 0
        self.fault: Exception | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def publish_skips(self, resolution: Resolution) -> None:
        await self.may_answer.wait()
        if self.fault:
            raise self.fault
        if self.failures:
            self.failures -= 1
            raise BrokerUnavailableError
        self.published.append(resolution)


class CountedDrops:
    """Keeps what was dropped."""

    def __init__(self) -> None:
        self.steps: list[StepName] = []
        self.reasons: list[str] = []

    def count_skips(self, steps: Sequence[StepName]) -> None:
        self.steps.extend(steps)

    def count_failure(self, reason: str) -> None:
        self.reasons.append(reason)


class Bench:
    """An announcer and all it speaks to."""

    def __init__(self, *, queue_size: int = 10) -> None:
        self.skips, self.dlq, self.drops = ControlledSkips(), ControlledDlq(), CountedDrops()
        self.announcer = ResolutionAnnouncer(
            self.skips,
            self.dlq,
            self.drops,
            AnnouncementPolicy(queue_size=queue_size, max_tries=3, max_backoff_seconds=0.001),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the announcer; at the end it has told what there was to tell."""
        run = asyncio.create_task(self.announcer.run())
        try:
            yield
        finally:
            self.announcer.stop()
            await asyncio.wait_for(run, 5)


async def test_what_was_announced_before_the_stop_is_told() -> None:
    bench = Bench()
    resolutions = [resolution_of(f"b{n}", "spellcheck") for n in range(5)]

    async with bench.running():
        for resolution in resolutions:
            bench.announcer.announce(resolution)

    assert bench.skips.published == resolutions


async def test_a_resolution_without_skipped_phases_is_nothing_to_tell() -> None:
    bench = Bench(queue_size=1)
    for n in range(3):
        bench.announcer.announce(resolution_of(f"b{n}"))

    async with bench.running():
        pass

    assert bench.skips.published == []
    assert bench.drops.steps == []


async def test_an_unreachable_broker_is_tried_again() -> None:
    bench = Bench()
    bench.skips.failures = 2

    async with bench.running():
        bench.announcer.announce(resolution_of("b1", "spellcheck"))

    assert len(bench.skips.published) == 1


async def test_after_the_last_try_the_next_announcement_has_its_turn() -> None:
    bench = Bench()
    bench.skips.failures = 3

    async with bench.running():
        bench.announcer.announce(resolution_of("b1", "spellcheck"))
        bench.announcer.announce(resolution_of("b2", "spellcheck"))
        await until(lambda: bench.skips.published != [])

    assert [told.request.batch_id for told in bench.skips.published] == ["b2"]


async def test_what_does_not_fit_the_queue_is_dropped_and_counted() -> None:
    bench = Bench(queue_size=1)
    bench.announcer.announce(resolution_of("b1", "spellcheck"))
    bench.announcer.announce(resolution_of("b2", "spellcheck", "nlp"))
    bench.announcer.announce_failure(request_for("b3"), UnknownPipelineError("both", []))

    assert bench.drops.steps == ["spellcheck", "nlp"]
    assert bench.drops.reasons == ["unknown_pipeline"]


async def test_the_stop_waits_for_a_broker_that_comes_back() -> None:
    bench = Bench()
    bench.skips.failures = 20

    async with bench.running():
        bench.announcer.announce(resolution_of("b1", "spellcheck"))

    assert len(bench.skips.published) == 1
    assert bench.drops.steps == []


async def test_at_the_stop_one_that_cannot_be_told_keeps_no_other_back() -> None:
    bench = Bench()
    bench.dlq.failures = 1_000_000
    run = asyncio.create_task(bench.announcer.run())
    bench.announcer.announce_failure(request_for("b1"), UnknownPipelineError("both", []))
    bench.announcer.announce(resolution_of("b2", "spellcheck"))
    bench.announcer.stop()

    await until(lambda: bench.skips.published != [])
    run.cancel()
    await asyncio.wait({run})

    assert bench.drops.reasons == ["unknown_pipeline"]
    assert bench.drops.steps == []


async def test_what_cannot_be_told_at_the_stop_is_dropped_counted_and_no_clean_end() -> None:
    """In the hands of a publisher, or still waiting for one."""
    waiting = DRAINING_PUBLISHERS + 3
    bench = Bench(queue_size=waiting)
    bench.skips.may_answer.clear()
    supervisor = Supervisor([bench.announcer], Metrics(CollectorRegistry()))
    supervisor.start()
    for n in range(waiting):
        bench.announcer.announce(resolution_of(f"b{n}", "spellcheck"))
    await asyncio.sleep(0.01)

    with capture_logs() as logs:
        is_clean = await supervisor.stop(timeout_seconds=0.05)

    assert not is_clean
    assert bench.skips.published == []
    assert bench.drops.steps == ["spellcheck"] * waiting
    (line,) = [entry for entry in logs if entry["event"] == "announcements_dropped_at_stop"]
    assert line["count"] == waiting


async def test_a_fault_of_ours_ends_the_run_and_the_next_run_goes_on() -> None:
    bench = Bench()
    bench.skips.fault = ZeroDivisionError()
    bench.announcer.announce(resolution_of("b1", "spellcheck"))
    bench.announcer.announce(resolution_of("b2", "spellcheck"))

    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(bench.announcer.run(), 5)
    bench.skips.fault = None
    async with bench.running():
        pass

    assert [told.request.batch_id for told in bench.skips.published] == ["b2"]


async def test_a_failed_resolution_is_dead_lettered_with_its_code() -> None:
    bench = Bench()
    async with bench.running():
        bench.announcer.announce_failure(request_for("b1"), UnknownPipelineError("both", ["nlp"]))

    letter = bench.dlq.letters[0]
    assert letter.base_topic == "huleedu.pipelines.resolution"
    assert (letter.reason, letter.error_type) == ("unknown_pipeline", "UnknownPipelineError")
    assert (letter.key, letter.correlation_id) == (b"b1", "correlation-b1")


async def test_a_failed_resolution_is_dead_lettered_as_it_was_asked() -> None:
    bench = Bench()
    asked = replace(request_for("b1"), body=b'{"batch_id":  "b1", "of a newer caller": 1.10}')
    async with bench.running():
        bench.announcer.announce_failure(asked, UnknownPipelineError("both", []))

    assert bench.dlq.letters[0].payload == asked.body


async def test_a_failed_resolution_whose_text_was_not_kept_can_be_asked_again() -> None:
    bench = Bench()
    asked = replace(request_for("b1"), essays_total=3)
    async with bench.running():
        bench.announcer.announce_failure(asked, UnknownPipelineError("both", []))

    again = DefineRequest.model_validate_json(bench.dlq.letters[0].payload or b"")
    assert again.as_request(again.correlation_id or "", b"") == replace(asked, body=b"")


async def test_a_fault_of_ours_is_dead_lettered_without_its_text() -> None:
    bench = Bench()
    async with bench.running():
        bench.announcer.announce_failure(request_for("b1"), KeyError("password=secret"))

    letter = bench.dlq.letters[0]
    assert (letter.reason, letter.error_type) == ("internal_error", "KeyError")
    assert "secret" not in repr(letter)

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from batch_conductor_service.exceptions import UnknownPipelineError
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.resolving.announcing import (
    AnnouncementPolicy,
    ResolutionAnnouncer,
    SkipPolicy,
)
from batch_conductor_service.resolving.failure_letters import LetterPolicy
from service_libs.supervisor import Supervisor
from service_libs.timing import SystemClock
from tests.support.announcing import ControlledSkips, CountedDrops, running_to_its_end
from tests.support.consuming import ControlledDlq
from tests.support.kafka import until
from tests.support.resolutions import request_for, resolution_of

UNKNOWN = UnknownPipelineError("both", [])


class Bench:
    """An announcer and all it speaks to."""

    def __init__(self) -> None:
        self.skips, self.dlq, self.drops = ControlledSkips(), ControlledDlq(), CountedDrops()
        policy = AnnouncementPolicy(
            skips=SkipPolicy(max_backoff_seconds=0.001),
            letters=LetterPolicy(max_backoff_seconds=0.001),
        )
        self.announcer = ResolutionAnnouncer(
            self.skips, self.dlq, self.drops.metrics, SystemClock(), policy
        )


async def test_what_was_announced_before_the_stop_is_told() -> None:
    bench = Bench()
    async with running_to_its_end(bench.announcer):
        for n in range(5):
            bench.announcer.announce(resolution_of(f"b{n}", "spellcheck"))
        bench.announcer.announce_failure(request_for("b5"), UNKNOWN)

    assert bench.skips.batches == [f"b{n}" for n in range(5)]
    assert [letter.key for letter in bench.dlq.letters] == [b"b5"]
    assert bench.announcer.waiting_skips == 0
    assert bench.announcer.oldest_skip_age_seconds == 0


async def test_a_resolution_without_skipped_phases_is_nothing_to_tell() -> None:
    bench = Bench()
    async with running_to_its_end(bench.announcer):
        bench.announcer.announce(resolution_of("b1"))

    assert bench.skips.calls == []


async def test_no_number_of_failures_crowds_a_skip_event_out() -> None:
    bench = Bench()
    bench.dlq.failures = 1_000_000
    run = asyncio.create_task(bench.announcer.run())
    for n in range(5000):
        bench.announcer.announce_failure(request_for(f"b{n}"), UNKNOWN)

    bench.announcer.announce(resolution_of("b1", "spellcheck"))
    await until(lambda: bench.skips.published != [])
    run.cancel()
    await asyncio.wait({run})

    assert bench.drops.steps == []


async def test_at_the_stop_a_letter_that_cannot_be_told_keeps_no_skip_event_back() -> None:
    bench = Bench()
    bench.dlq.failures = 1_000_000
    run = asyncio.create_task(bench.announcer.run())
    bench.announcer.announce_failure(request_for("b1"), UNKNOWN)
    bench.announcer.announce(resolution_of("b2", "spellcheck"))
    bench.announcer.stop()

    await until(lambda: bench.skips.published != [])
    run.cancel()
    await asyncio.wait({run})

    assert bench.drops.reasons == ["unknown_pipeline"]
    assert bench.drops.steps == []


async def test_what_cannot_be_told_at_the_stop_is_dropped_counted_and_no_clean_end() -> None:
    """On its way to the broker, or still waiting."""
    bench = Bench()
    bench.skips.may_answer.clear()
    bench.dlq.failures = 1_000_000
    supervisor = Supervisor([bench.announcer], Metrics(CollectorRegistry()))
    supervisor.start()
    bench.announcer.announce(resolution_of("b1", "spellcheck", "nlp"))
    await until(lambda: bench.skips.calls != [])
    bench.announcer.announce(resolution_of("b2", "spellcheck"))
    bench.announcer.announce_failure(request_for("b3"), UNKNOWN)
    assert bench.announcer.waiting_skips == 3
    assert bench.announcer.oldest_skip_age_seconds > 0

    with capture_logs() as logs:
        is_clean = await supervisor.stop(timeout_seconds=0.05)

    assert not is_clean
    assert bench.skips.published == []
    assert bench.drops.steps == ["nlp", "spellcheck", "spellcheck"]
    assert bench.drops.reasons == ["unknown_pipeline"]
    (line,) = [entry for entry in logs if entry["event"] == "announcements_dropped_at_stop"]
    assert line["count"] == 4


async def test_a_fault_of_ours_ends_the_run_and_the_next_run_goes_on_without_its_cause() -> None:
    bench = Bench()
    bench.skips.fault = ZeroDivisionError()
    bench.announcer.announce(resolution_of("b1", "spellcheck"))
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(bench.announcer.run(), 5)

    bench.skips.fault = None
    async with running_to_its_end(bench.announcer):
        bench.announcer.announce(resolution_of("b2", "spellcheck"))

    assert bench.skips.batches == ["b2"]
    assert bench.drops.steps == ["spellcheck"]

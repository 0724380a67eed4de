import asyncio
import json
from dataclasses import replace

import pytest

from batch_conductor_service.api.pipelines import to_request
from batch_conductor_service.domain.resolution import ResolutionRequest
from batch_conductor_service.exceptions import PrerequisiteMissingError, UnknownPipelineError
from batch_conductor_service.resolving.failure_letters import FailureLetters, LetterPolicy
from common_core.define import DefineRequest
from service_libs.exceptions import DeadlineExceededError, OverloadedError, StoreUnavailableError
from tests.support.announcing import CountedDrops, running_to_its_end
from tests.support.consuming import ControlledDlq
from tests.support.kafka import until
from tests.support.resolutions import request_for

A_MINUTE = 60.0
AT_ONCE = 0.02


class Bench:
    """The letters and all they speak to."""

    def __init__(self, *, interval_seconds: float = A_MINUTE, max_kinds: int = 256) -> None:
        self.dlq, self.drops = ControlledDlq(), CountedDrops()
        self.letters = FailureLetters(
            self.dlq,
            self.drops.metrics,
            LetterPolicy(
                interval_seconds=interval_seconds, max_kinds=max_kinds, max_backoff_seconds=0.001
            ),
        )

    @property
    def told(self) -> list[int]:
        """How many failures each letter stands for."""
        return [(letter.metadata or {})["occurrences"] for letter in self.dlq.letters]

    def fail(self, batch: str, error: Exception | None = None, pipeline: str = "both") -> None:
        asked = replace(request_for(batch), requested_pipeline=pipeline)
        self.letters.add(asked, error or UnknownPipelineError(pipeline, []))


async def test_the_first_of_a_kind_is_told_at_once_and_those_of_its_minute_by_one_letter() -> None:
    bench = Bench()
    async with running_to_its_end(bench.letters):
        bench.fail("b1")
        await until(lambda: bench.told == [1])
        for _ in range(99):
            bench.fail("b1")
        await asyncio.sleep(0)
        assert bench.told == [1]

    assert bench.told == [1, 99]  # at the stop there is no minute left


async def test_what_comes_while_a_letter_is_on_its_way_is_left_for_the_next_one() -> None:
    bench = Bench()
    bench.dlq.may_answer.clear()
    async with running_to_its_end(bench.letters):
        bench.fail("b1")
        await until(lambda: bench.dlq.tries == 1)
        bench.fail("b1")
        bench.fail("b1")
        bench.dlq.may_answer.set()
        await until(lambda: bench.told == [1])

    assert bench.told == [1, 2]


async def test_at_the_end_of_the_minute_a_letter_tells_the_rest() -> None:
    bench = Bench(interval_seconds=AT_ONCE)
    async with running_to_its_end(bench.letters):
        bench.fail("b1")
        await until(lambda: bench.told == [1])
        bench.fail("b1")
        bench.fail("b1")
        await until(lambda: bench.told == [1, 2])

    assert bench.told == [1, 2]


@pytest.mark.parametrize(
    "one_failure",
    [
        pytest.param(lambda n: ("b1", None, f"typo-{n}"), id="typing errors of one caller"),
        *(
            pytest.param(lambda n, error=error: (f"b{n}", error(), "both"), id=error.code)
            for error in (OverloadedError, DeadlineExceededError, StoreUnavailableError)
        ),
    ],
)
async def test_six_thousand_failures_of_one_kind_are_two_letters(one_failure: object) -> None:
    bench = Bench()
    assert callable(one_failure)
    async with running_to_its_end(bench.letters):
        for n in range(6000):
            bench.fail(*one_failure(n))
            if n == 0:
                await until(lambda: bench.told == [1])

    assert bench.told == [1, 5999]


async def test_whatever_callers_vary_there_are_so_many_letters_and_all_is_told() -> None:
    bench = Bench(max_kinds=10)
    async with running_to_its_end(bench.letters):
        for n in range(6000):
            bench.fail(f"b{n}", None, f"typo-{n}")
            if n % 100 == 0:
                await asyncio.sleep(0.001)

    assert len(bench.told) <= 2 * (10 + 1)  # at once, and at the end
    assert sum(bench.told) == 6000


async def test_after_their_minute_kinds_make_room_for_others() -> None:
    bench = Bench(max_kinds=1, interval_seconds=AT_ONCE)
    async with running_to_its_end(bench.letters):
        bench.fail("b1")
        await until(lambda: bench.told == [1])
        await asyncio.sleep(AT_ONCE)
        bench.fail("b2")
        bench.fail("b3")

    assert bench.told == [1, 1, 1]  # b3 is one of "all others"; without room b2 were one, too


async def test_batches_pipelines_and_reasons_are_told_apart() -> None:
    bench = Bench()
    async with running_to_its_end(bench.letters):
        bench.fail("b1")
        bench.fail("b2")
        bench.fail("b2", PrerequisiteMissingError("nlp", "spellcheck"), "nlp")
        bench.fail("b2", PrerequisiteMissingError("nlp", "spellcheck"), "comprehensive")
        bench.fail("b2", KeyError(), "comprehensive")

    assert bench.told == [1] * 5


async def test_what_comes_while_the_broker_is_away_is_told_together_and_nothing_is_lost() -> None:
    bench = Bench()
    bench.dlq.failures = 5
    async with running_to_its_end(bench.letters):
        for _ in range(3):
            bench.fail("b1")
        bench.fail("b2")
        await until(lambda: len(bench.told) == 2)

    assert sorted(bench.told) == [1, 3]
    assert bench.drops.reasons == []


async def test_a_failed_resolution_is_dead_lettered_with_its_code() -> None:
    bench = Bench()
    async with running_to_its_end(bench.letters):
        bench.fail("b1", UnknownPipelineError("both", ["nlp"]))

    letter = bench.dlq.letters[0]
    assert letter.base_topic == "huleedu.pipelines.resolution"
    assert (letter.reason, letter.error_type) == ("unknown_pipeline", "UnknownPipelineError")
    assert (letter.key, letter.correlation_id) == (b"b1", "correlation-b1")


async def test_a_failed_resolution_is_dead_lettered_as_it_was_asked() -> None:
    bench = Bench()
    asked = replace(request_for("b1"), body=b'{"batch_id":  "b1", "of a newer caller": 1.10}')
    async with running_to_its_end(bench.letters):
        bench.letters.add(asked, UnknownPipelineError("both", []))

    assert bench.dlq.letters[0].payload == asked.body


async def test_a_failed_resolution_whose_text_was_not_kept_can_be_asked_again() -> None:
    bench = Bench()
    asked: ResolutionRequest = replace(request_for("b1"), essays_total=3)
    async with running_to_its_end(bench.letters):
        bench.letters.add(asked, UnknownPipelineError("both", []))

    payload = bench.dlq.letters[0].payload or b""
    assert json.loads(payload)["batch_id"] == "b1"
    again = DefineRequest.model_validate_json(payload)
    assert to_request(again, again.correlation_id or "", b"") == replace(asked, body=b"")


async def test_a_fault_of_ours_is_dead_lettered_without_its_text() -> None:
    bench = Bench()
    async with running_to_its_end(bench.letters):
        bench.fail("b1", KeyError("password=secret"))

    letter = bench.dlq.letters[0]
    assert (letter.reason, letter.error_type) == ("internal_error", "KeyError")
    assert "secret" not in repr(letter)


async def test_a_letter_that_breaks_the_run_is_dropped_and_the_next_run_goes_on() -> None:
    bench = Bench()
    bench.dlq.fault = ZeroDivisionError()
    bench.fail("b1")
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(bench.letters.run(), 5)

    bench.dlq.fault = None
    async with running_to_its_end(bench.letters):
        bench.fail("b2")

    assert bench.drops.reasons == ["unknown_pipeline"]
    assert [letter.key for letter in bench.dlq.letters] == [b"b2"]

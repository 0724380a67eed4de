"""The service in memory against the oracle, from the bytes of the records to the answer."""

import asyncio
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.answers import (
    KINDS,
    Answering,
    answer_from_memory,
    differences,
    without_logs,
)
from tests.support.oracle.histories import History, histories
from tests.support.oracle.run import described, find_differences

pytestmark = pytest.mark.usefixtures("_no_logs")

EXAMPLES = 200
QUICK_HISTORIES = range(3000)


@pytest.fixture
def _no_logs() -> Iterator[None]:
    with without_logs():
        yield


def test_no_answer_differs_from_the_oracles() -> None:
    tally = find_differences(QUICK_HISTORIES)

    assert not any(tally.counts[kind] for kind in KINDS), tally.told()
    assert tally.counts["steps skipped"] > tally.counts["steps judged"] / 5


@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(histories())
def test_no_history_that_hypothesis_finds_is_answered_otherwise(history: History) -> None:
    answer = asyncio.run(answer_from_memory(history))

    assert differences(history, answer) == [], "\n".join(described(history))


@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(histories(), st.randoms(use_true_random=False))
def test_neither_the_order_of_delivery_nor_a_second_one_changes_an_answer(
    history: History, rng: Random
) -> None:
    delivered = [*history.records, *(each for each in history.records if rng.random() < 0.3)]
    rng.shuffle(delivered)

    async def answer_otherwise() -> object:
        service = Answering()
        await service.consume(delivered)
        return await service.ask(history.batch, history.essays_total)

    assert asyncio.run(answer_otherwise()) == asyncio.run(answer_from_memory(history))

"""What holds the service to account must itself be neither too lenient nor too strict."""

import pytest

from batch_conductor_service.models import BatchId
from tests.support.builders import (
    assessed,
    essay_names,
    minutes,
    phase_outcome,
    registered,
    spellchecked,
)
from tests.support.faults.model import Model
from tests.support.pipelines import service_catalog

BATCH = BatchId("batch")
ESSAYS = essay_names(3)


@pytest.fixture
def model() -> Model:
    model = Model(service_catalog())
    model.send(registered(BATCH, 3))
    for essay in ESSAYS:
        model.send(spellchecked(BATCH, essay, at=minutes(60)))
    return model


def false_greens(model: Model) -> list[str]:
    return list(model.false_greens(BATCH, "cj_assessment", ["spellcheck"]))


def test_a_failure_that_is_settled_makes_a_skip_a_false_green(model: Model) -> None:
    model.send(spellchecked(BATCH, ESSAYS[0], "failed", minutes(90)))
    model.settle()

    assert false_greens(model) == ["spellcheck"]


def test_a_failure_on_its_way_may_not_have_been_heard_of(model: Model) -> None:
    model.settle()
    model.send(spellchecked(BATCH, ESSAYS[0], "failed", minutes(90)))

    assert false_greens(model) == []


def test_an_essay_that_was_never_sent_makes_a_skip_a_false_green() -> None:
    model = Model(service_catalog())
    model.send(registered(BATCH, 3))
    for essay in ESSAYS[1:]:
        model.send(spellchecked(BATCH, essay))

    assert false_greens(model) == ["spellcheck"]


def test_of_a_failure_sent_again_the_latest_time_counts(model: Model) -> None:
    model.send(phase_outcome(BATCH, (), at=minutes(900), status="failed_critically"))
    model.settle()
    assert false_greens(model) == ["spellcheck"]

    model.send(phase_outcome(BATCH, (), at=minutes(10), status="failed_critically"))

    assert false_greens(model) == ["spellcheck"]


def test_a_completion_on_its_way_may_have_been_heard_of(model: Model) -> None:
    model.send(spellchecked(BATCH, ESSAYS[0], "failed", minutes(90)))
    model.settle()
    model.send(spellchecked(BATCH, ESSAYS[0], at=minutes(95)))
    assert false_greens(model) == []

    model.send(phase_outcome(BATCH, (), at=minutes(99), status="failed_critically"))
    assert false_greens(model) == []

    model.settle()
    assert false_greens(model) == ["spellcheck"]


def test_what_was_made_from_an_older_text_is_a_false_green_once_the_newer_is_settled(
    model: Model,
) -> None:
    model.send(assessed(BATCH, ESSAYS, at=minutes(70)))
    model.settle()
    model.send(spellchecked(BATCH, ESSAYS[0], at=minutes(80)))
    both = ["spellcheck", "cj_assessment"]
    assert model.skipped(BATCH, "cj_assessment") == ["spellcheck"]
    assert model.false_greens(BATCH, "cj_assessment", both) == []

    model.settle()

    assert model.false_greens(BATCH, "cj_assessment", both) == ["cj_assessment"]


def test_events_on_their_way_may_have_been_heard_of_in_part(model: Model) -> None:
    """Neither all of them nor none makes cj complete: the completion alone does."""
    model.send(assessed(BATCH, ESSAYS, at=minutes(70)))
    model.send(assessed(BATCH, ESSAYS[:2], at=minutes(75)))
    model.send(spellchecked(BATCH, ESSAYS[0], at=minutes(80)))

    both = ["spellcheck", "cj_assessment"]
    assert model.false_greens(BATCH, "cj_assessment", both) == []

"""What holds the service to account must itself be neither too lenient nor too strict."""

import pytest

from batch_conductor_service.models import BatchId
from tests.support.builders import essay_names, minutes, phase_outcome, registered, spellchecked
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


def test_the_original_of_a_report_whose_copy_is_settled_refutes_less(model: Model) -> None:
    model.send(phase_outcome(BATCH, (), at=minutes(900), status="failed_critically"))
    model.settle()
    assert false_greens(model) == ["spellcheck"]

    model.send(phase_outcome(BATCH, (), at=minutes(10), status="failed_critically"))

    assert false_greens(model) == []

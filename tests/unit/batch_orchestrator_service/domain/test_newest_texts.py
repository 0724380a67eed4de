"""A phase is given the newest text of each essay, or BCS is asked for it; never an older one."""

from batch_orchestrator_service.domain import advancing, texts
from batch_orchestrator_service.domain.advancing import Effect, Outcome
from batch_orchestrator_service.domain.models import Run
from tests.support.orchestrating import Bench, planned, request


def spellchecked_twice(bench: Bench) -> Run:
    """Have spellcheck run through, and commanded again; return the second run."""
    bench.report(bench.run_to("spellcheck"), "spellcheck", "e1", "e2")
    bench.click(request("again", "nlp"))
    run = bench.begin()
    assert run is not None
    bench.plan(run, planned("nlp"))
    return bench.run_of(run)


def test_what_a_cancelled_phase_may_yet_make_is_asked_of_bcs() -> None:
    bench = Bench.ready("e1", "e2")
    run = spellchecked_twice(bench)

    bench.cancel(run)

    # Its outcome belongs to no run any more; by BCS's word spellcheck is complete all the same.
    assert bench.report(run, "spellcheck", "e1", "e2") is Effect.FOREIGN
    assert texts.lacks_texts(bench.state, planned("nlp", skipping=("spellcheck",)))


def test_cancelling_a_phase_that_makes_no_texts_forgets_none() -> None:
    bench = Bench.ready("e1", "e2")
    run = spellchecked_twice(bench)
    bench.report(run, "spellcheck", "e1", "e2")

    bench.cancel(bench.run_of(run))

    assert not texts.lacks_texts(bench.state, planned("nlp", skipping=("spellcheck",)))


def test_an_essay_that_came_through_without_a_text_is_not_given_its_older_one() -> None:
    bench = Bench.ready("e1", "e2")
    run = spellchecked_twice(bench)
    outcome = Outcome(
        correlation_id=run.correlation_id,
        phase="spellcheck",
        status="completed_successfully",
        processed={"e1": None, "e2": "newer-e2"},
    )

    step, effect = advancing.take_outcome(bench.state, outcome, bench.now, bench._deadline)

    [command] = step.messages
    assert isinstance(command, advancing.Command)
    assert (effect, command.phase.name) == (Effect.MOVED, "nlp")
    assert command.texts == {"e2": "newer-e2"}
    assert command.phase.left_out == ("e1",)

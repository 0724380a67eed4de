"""A click finds its run, always the same one; a stranger's finds nothing."""

from datetime import timedelta

import pytest

from batch_orchestrator_service.domain import resolving
from batch_orchestrator_service.domain.accepting import MAX_WAITING, Decision
from batch_orchestrator_service.domain.states import RejectionReason, RunState, WaitReason
from tests.support.orchestrating import Bench, named, planned, request


def test_a_click_makes_a_run() -> None:
    bench = Bench.ready()

    accepted = bench.click(request())

    assert accepted.decision is Decision.NEW_RUN
    assert accepted.run is not None
    assert accepted.run.state is RunState.ACCEPTED
    assert accepted.run.correlation_id == named("click")


def test_the_same_click_again_changes_nothing() -> None:
    bench = Bench.ready()
    first = bench.click(request())

    again = bench.click(request())

    assert again.decision is Decision.SAME_REQUEST
    assert (again.state, again.run) == (first.state, first.run)


def test_a_click_finds_its_run_after_the_end_too() -> None:
    bench = Bench.ready("e1")
    run = bench.run_to("nlp")
    bench.report(run, "spellcheck", "e1")
    bench.report(run, "nlp", "e1")

    again = bench.click(request("nlp", "nlp"))

    assert again.decision is Decision.SAME_REQUEST
    assert again.run is not None
    assert again.run.state is RunState.COMPLETED_SUCCESSFULLY
    assert len(bench.state.runs) == 1


def test_asking_again_for_what_runs_joins_it() -> None:
    bench = Bench.ready()
    run = bench.run_to("nlp")

    joined = bench.click(request("second", "nlp"))
    again = bench.click(request("second", "nlp"))

    assert joined.decision is Decision.JOINED_RUN
    assert joined.run is not None
    assert joined.run.run_id == run.run_id
    assert (again.decision, again.run) == (Decision.SAME_REQUEST, joined.run)


def test_another_pipeline_waits_its_turn() -> None:
    bench = Bench.ready()
    bench.run_to("nlp")

    other = bench.click(request("second", "cj_assessment"))

    assert other.decision is Decision.NEW_RUN
    assert other.run is not None
    assert other.run.reason is WaitReason.EARLIER_RUN_OPEN
    assert other.run.next_try_at is None  # nobody looks at it before its turn
    assert bench.begin() is None


def test_a_retry_is_a_run_of_its_own_and_a_second_one_is_the_first() -> None:
    bench = Bench.ready()
    run = bench.run_to("nlp")

    retry = bench.click(request("retry", "nlp", is_retry=True))
    second = bench.click(request("again", "nlp", is_retry=True))

    assert retry.decision is Decision.NEW_RUN
    assert retry.run is not None
    assert retry.run.run_id != run.run_id
    assert second.decision is Decision.JOINED_RUN
    assert second.run is not None
    assert second.run.run_id == retry.run.run_id


def test_an_id_with_another_body_is_refused_and_leads_to_the_first_run_still() -> None:
    bench = Bench.ready()
    first = bench.click(request())

    reused = bench.click(request(body="another"))
    bench.click(request(body="another"))
    again = bench.click(request())

    assert reused.decision is Decision.REQUEST_ID_REUSED
    assert reused.run is not None
    assert reused.run.reason is RejectionReason.REQUEST_ID_REUSED
    assert first.run is not None
    assert again.run is not None
    assert again.run.run_id == first.run.run_id
    assert len(bench.state.runs) == 2


def test_a_second_run_of_one_correlation_id_has_its_own() -> None:
    bench = Bench.ready()
    first = bench.click(request("one", "nlp", correlation="same"))
    second = bench.click(request("two", "cj_assessment", correlation="same"))

    assert first.run is not None
    assert second.run is not None
    assert first.run.correlation_id == named("same")
    assert second.run.correlation_id not in {named("same"), named("two")}
    assert second.run.client_correlation_id == named("same")


def test_no_more_than_so_many_runs_of_a_user_wait() -> None:
    bench = Bench.ready()
    for number in range(MAX_WAITING):
        bench.click(request(f"click-{number}", f"pipeline-{number}"))

    refused = bench.click(request("one more", "nlp"))

    assert refused.decision is Decision.TOO_MANY_WAITING
    assert refused.run is not None
    assert refused.run.state is RunState.REJECTED
    assert len(bench.state.waiting) == MAX_WAITING


def test_a_strangers_click_is_kept_nowhere() -> None:
    bench = Bench.ready()
    before = bench.state

    refused = bench.click(request(user="stranger"))

    assert (refused.decision, refused.run, refused.state) == (Decision.NOT_FOUND, None, before)


def test_a_stranger_who_came_before_the_registration_is_gone_with_it() -> None:
    bench = Bench()
    bench.click(request("stranger's", user="stranger"))
    bench.click(request("teacher's"))

    strange = bench.register("e1")

    state = bench.state
    assert [run.user_id for run in strange] == ["stranger"]
    assert [run.user_id for run in state.runs] == ["teacher"]
    assert set(state.fingerprints) == {named("teacher's")}


@pytest.mark.parametrize("is_registered", [False, True])
def test_a_run_waits_for_its_batch_and_is_rejected_in_the_end(*, is_registered: bool) -> None:
    bench = Bench()
    if is_registered:
        bench.register("e1")
    accepted = bench.click(request())
    assert accepted.run is not None

    assert bench.begin() is None
    bench.now += resolving.PATIENCE
    assert bench.begin() is None

    run = bench.run_of(accepted.run)
    assert (run.state, run.reason) == (RunState.REJECTED, RejectionReason.BATCH_NOT_READY)
    assert bench.sent == []


def test_a_batch_that_becomes_ready_has_its_run_begun() -> None:
    bench = Bench()
    bench.click(request())
    assert bench.begin() is None

    bench.make_ready("e1")
    assert bench.begin() is None
    bench.register("e1")

    assert bench.begin() is not None


def test_a_run_whose_resolver_died_is_begun_again() -> None:
    bench = Bench.ready("e1")
    bench.click(request())
    first = bench.begin()

    assert bench.begin() is None  # another has it
    assert first is not None
    assert first.next_try_at is not None
    bench.now = first.next_try_at
    again = bench.begin()

    assert again is not None
    assert again.run_id == first.run_id
    bench.plan(again, planned("nlp"))
    assert len(bench.commands) == 1


def test_a_run_that_bcs_does_not_answer_waits_and_is_rejected_in_the_end() -> None:
    bench = Bench.ready("e1")
    bench.click(request())
    run = bench.begin()
    assert run is not None

    bench.state = resolving.postpone(bench.state, run, bench.now, bench.now)
    waiting = bench.run_of(run)
    assert (waiting.state, waiting.reason) == (
        RunState.ACCEPTED,
        WaitReason.RESOLUTION_UNAVAILABLE,
    )
    bench.now += resolving.PATIENCE
    again = bench.begin()
    assert again is not None
    bench.state = resolving.postpone(bench.state, again, bench.now, bench.now)

    assert bench.run_of(run).reason is RejectionReason.RESOLUTION_UNAVAILABLE


def test_bcs_has_its_own_ten_minutes_after_those_of_the_batch() -> None:
    bench = Bench()
    bench.register("e1")
    bench.click(request())
    assert bench.begin() is None
    bench.now += resolving.PATIENCE - timedelta(seconds=1)
    bench.make_ready("e1")

    run = bench.begin()
    assert run is not None
    assert run.reason is None
    bench.now += timedelta(seconds=2)
    bench.state = resolving.postpone(bench.state, run, bench.now, bench.now)

    assert bench.run_of(run).reason is WaitReason.RESOLUTION_UNAVAILABLE


def test_each_run_that_is_rejected_has_the_next_one_looked_at() -> None:
    bench = Bench()
    bench.click(request("first", "nlp"))
    bench.click(request("second", "cj_assessment"))
    assert bench.begin() is None
    bench.now += resolving.PATIENCE

    assert bench.begin() is None

    first, second = bench.state.runs
    assert first.reason is RejectionReason.BATCH_NOT_READY
    assert (second.state, second.next_try_at) == (RunState.ACCEPTED, bench.now)


def test_an_answer_that_doubts_is_waited_out_from_the_first_of_them_in_a_row() -> None:
    bench = Bench.ready("e1")
    bench.click(request())
    run = bench.begin()
    assert run is not None
    obeyed = []
    for is_degraded, seconds in ((True, 50), (False, 50), (True, 50), (True, 10)):
        bench.state = resolving.postpone(
            bench.state, run, bench.now, bench.now, is_degraded=is_degraded
        )
        bench.now += timedelta(seconds=seconds)
        begun = bench.begin()
        assert begun is not None
        run = begun
        obeyed.append(resolving.is_degraded_answer_obeyed(run, bench.now))

    assert obeyed == [False, False, False, True]


def test_an_answer_that_doubts_is_obeyed_before_the_run_is_rejected() -> None:
    bench = Bench.ready("e1")
    bench.click(request())
    run = bench.begin()
    assert run is not None

    assert not resolving.is_degraded_answer_obeyed(run, bench.now)
    assert resolving.is_degraded_answer_obeyed(run, bench.now + resolving.PATIENCE)

"""Each record goes to its handler, or to the dead letters; in order within a batch."""

from typing import Any
from uuid import UUID

import pytest

from batch_orchestrator_service.domain.advancing import Effect
from batch_orchestrator_service.domain.states import RunState
from batch_orchestrator_service.events.decoding import consumed_topics
from batch_orchestrator_service.protocols import AuditEntry
from common_core.topics import EventName
from service_libs.exceptions import DeadLetterLimitError, StoreUnavailableError
from service_libs.kafka.policy import DeadLetterLimit
from tests.support.handled import OUTCOME, PROVISIONED, READY, REGISTERED, Handled
from tests.support.orchestrating import named


async def test_a_class_batch_is_ready_by_its_essays() -> None:
    handled = Handled()

    await handled.handle(handled.record(EventName.BATCH_ESSAYS_REGISTERED, REGISTERED))
    assert not handled.one.state.batch.is_ready
    content = EventName.BATCH_CONTENT_PROVISIONING_COMPLETED
    await handled.handle(handled.record(content, PROVISIONED))
    assert not handled.one.state.batch.is_ready
    await handled.handle(handled.record(EventName.BATCH_ESSAYS_READY, READY))

    batch = handled.one.state.batch
    assert batch.is_ready
    assert (batch.user_id, batch.expected, batch.texts) == ("teacher", 2, {"e1": "t1"})


async def test_a_guests_batch_is_ready_by_its_content_in_any_order() -> None:
    handled = Handled()
    registered = REGISTERED | {"class_id": None, "user_id": "guest"}
    content = EventName.BATCH_CONTENT_PROVISIONING_COMPLETED

    await handled.handle(handled.record(content, PROVISIONED))
    await handled.handle(handled.record(EventName.BATCH_ESSAYS_REGISTERED, registered))

    assert handled.one.state.batch.is_ready
    assert handled.one.state.batch.is_guest


async def test_a_request_is_a_run_however_often_it_is_read() -> None:
    handled = Handled()
    request = handled.request(request_id=str(named("click")))

    await handled.handle(request, request)
    await handled.handle(request)

    [run] = handled.one.state.runs
    assert (run.state, run.request_ids) == (RunState.ACCEPTED, (named("click"),))
    decisions = [
        entry.decision.value for entry in handled.one.runs.audit if isinstance(entry, AuditEntry)
    ]
    assert decisions == ["new_run", "same_request", "same_request"]
    assert handled.one.sample("bos_requests_total", decision="same_request") == 2


async def test_a_request_without_an_id_has_the_one_that_follows_from_it() -> None:
    handled = Handled()

    await handled.handle(handled.request(), handled.request())
    await handled.handle(handled.request(requested_pipeline="cj_assessment"))

    assert [len(run.request_ids) for run in handled.one.state.runs] == [1, 1]


async def test_one_id_over_two_batches_leads_to_the_first() -> None:
    handled = Handled()
    click = str(named("click"))

    await handled.handle(handled.request(request_id=click))
    await handled.handle(handled.request(request_id=click, batch_id="batch-2"))

    [refused] = handled.one.runs.states["batch-2"].runs
    assert refused.reason == "request_id_reused"
    assert UUID(click) in handled.one.state.fingerprints


async def test_what_a_client_says_beside_the_pipeline_is_kept() -> None:
    handled = Handled()

    await handled.handle(
        handled.request(
            is_retry=True, retry_reason="again", prompt_payload={"assignment_id": "a-1"}
        )
    )

    [run] = handled.one.state.runs
    assert (run.is_retry, run.retry_reason, run.prompt.assignment_id) == (True, "again", "a-1")


async def test_an_outcome_moves_its_run() -> None:
    handled = Handled()
    await handled.handle(
        handled.record(EventName.BATCH_ESSAYS_REGISTERED, REGISTERED),
        handled.record(EventName.BATCH_ESSAYS_READY, READY),
        handled.request(),
    )
    await handled.one.resolver.resolve("batch-1")

    await handled.handle(handled.record(EventName.ELS_BATCH_PHASE_OUTCOME, OUTCOME))

    assert handled.one.messages[-1].phase == "nlp"
    assert handled.one.sample("bos_phase_outcomes_total", effect="moved") == 1


@pytest.mark.parametrize("correlation_id", [None, "no uuid", ""])
async def test_an_outcome_without_an_id_of_its_own_has_its_envelopes(
    correlation_id: str | None,
) -> None:
    handled = Handled()
    await handled.handle(
        handled.record(EventName.BATCH_ESSAYS_REGISTERED, REGISTERED),
        handled.record(EventName.BATCH_ESSAYS_READY, READY),
        handled.request(client_correlation_id=str(named("envelope"))),
    )
    await handled.one.resolver.resolve("batch-1")
    outcome = OUTCOME | {"correlation_id": correlation_id}

    await handled.handle(handled.record(EventName.ELS_BATCH_PHASE_OUTCOME, outcome))

    assert handled.one.sample("bos_phase_outcomes_total", effect="moved") == 1


@pytest.mark.parametrize(
    "spoilt",
    [
        {"user_id": ""},
        {"user_id": None},
        {"batch_id": "a:b"},
        {"requested_pipeline": "x" * 101},
        {"client_correlation_id": "no uuid"},
        {"retry_reason": "x" * 501},
        {"prompt_payload": {}},
        {"prompt_payload": {"assignment_id": "a", "cms_prompt_ref": {}}},
    ],
)
async def test_a_request_that_is_none_is_dead_lettered_and_the_others_go_on(
    spoilt: dict[str, object],
) -> None:
    handled = Handled()

    await handled.handle(handled.request(**spoilt), handled.request(request_id=str(named("good"))))

    assert [letter.reason for letter in handled.dlq.letters] in (
        ["schema_violation"],
        ["bad_identifier"],
    )
    assert [run.request_ids for run in handled.one.state.runs] == [(named("good"),)]


async def test_the_dead_letters_of_a_bad_deploy_do_not_flood() -> None:
    handled = Handled(DeadLetterLimit(min_invalid_records=3))
    bad = [handled.raw(EventName.CLIENT_BATCH_PIPELINE_REQUEST, b"{") for _ in range(5)]

    with pytest.raises(DeadLetterLimitError):
        await handled.handle(*bad)

    assert handled.dlq.letters == []


async def test_a_dead_letter_that_is_not_taken_is_tried_again() -> None:
    handled = Handled()
    handled.dlq.failures = 0
    calls = 0
    publish = handled.dlq.publish

    async def fail_once(letter: Any) -> None:  # noqa: ANN401 - a letter
        nonlocal calls
        calls += 1
        if calls == 1:
            raise StoreUnavailableError
        await publish(letter)

    handled.dlq.publish = fail_once  # type: ignore[method-assign] # the broker is away once

    await handled.handle(handled.raw(EventName.BATCH_ESSAYS_READY, b"nonsense"))

    assert len(handled.dlq.letters) == 1


def test_what_is_consumed_are_the_topics_of_the_flow() -> None:
    assert set(consumed_topics()) == {
        "huleedu.commands.batch.pipeline.v1",
        "huleedu.batch.essays.registered.v1",
        "huleedu.els.batch.essays.ready.v1",
        "huleedu.batch.content.provisioning.completed.v1",
        "huleedu.els.batch.phase.outcome.v1",
    }


async def test_a_strangers_request_is_audited_and_kept_nowhere_else() -> None:
    handled = Handled()
    await handled.handle(handled.record(EventName.BATCH_ESSAYS_REGISTERED, REGISTERED))

    await handled.handle(handled.request(user_id="stranger"))

    assert handled.one.state.runs == ()
    [entry] = handled.one.runs.audit
    assert isinstance(entry, AuditEntry)
    assert (entry.decision.value, entry.request.user_id) == ("not_found", "stranger")


async def test_an_essay_in_both_lists_has_failed() -> None:
    handled = Handled()
    ready = READY | {
        "ready_essays": [{"essay_id": one, "text_storage_id": "t"} for one in ("e1", "e2")]
    }
    await handled.handle(
        handled.record(EventName.BATCH_ESSAYS_REGISTERED, REGISTERED),
        handled.record(EventName.BATCH_ESSAYS_READY, ready),
        handled.request(),
    )
    await handled.one.resolver.resolve("batch-1")
    both = [{"essay_id": one, "text_storage_id": f"c-{one}"} for one in ("e1", "e2")]
    outcome = OUTCOME | {"processed_essays": both, "failed_essay_ids": ["e2"]}

    await handled.handle(handled.record(EventName.ELS_BATCH_PHASE_OUTCOME, outcome))

    spellcheck, nlp = handled.one.run.phases
    assert (spellcheck.processed, spellcheck.failed) == (("e1",), ("e2",))
    assert spellcheck.outcome == "completed_successfully"
    assert (nlp.dispatched, nlp.left_out) == (("e1",), ("e2",))


async def test_an_outcome_that_moves_nothing_is_noted_with_the_reason() -> None:
    handled = Handled()

    await handled.handle(handled.record(EventName.ELS_BATCH_PHASE_OUTCOME, OUTCOME))

    [unused] = handled.one.runs.unused
    assert (unused.effect, unused.outcome.phase) == (Effect.FOREIGN, "spellcheck")
    assert unused.outcome.correlation_id == named("client")
    assert handled.one.sample("bos_phase_outcomes_total", effect="foreign") == 1


async def test_a_class_without_a_name_is_a_guests_batch() -> None:
    handled = Handled()

    registered = REGISTERED | {"class_id": ""}
    await handled.handle(handled.record(EventName.BATCH_ESSAYS_REGISTERED, registered))

    assert handled.one.state.batch.is_guest


@pytest.mark.parametrize("is_registered_first", [False, True])
async def test_the_prompt_may_come_with_the_essays(*, is_registered_first: bool) -> None:
    handled = Handled()
    prompt = {"storage_id": "prompt-1"}
    records = [
        handled.record(EventName.BATCH_ESSAYS_REGISTERED, REGISTERED),
        handled.record(EventName.BATCH_ESSAYS_READY, READY | {"student_prompt_ref": prompt}),
    ]

    await handled.handle(*(records if is_registered_first else reversed(records)))

    assert handled.one.state.batch.prompt_ref == prompt


async def test_a_refused_click_is_counted_as_a_run_that_ended() -> None:
    handled = Handled()
    click = str(named("click"))

    await handled.handle(
        handled.request(request_id=click),
        handled.request(request_id=click, requested_pipeline="cj_assessment"),
    )

    assert handled.one.sample("bos_runs_ended_total", state="rejected") == 1

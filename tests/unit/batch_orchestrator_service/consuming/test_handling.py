"""Each record goes to its handler, or to the dead letters; in order within a batch."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from batch_orchestrator_service.consuming.handling import PollHandler
from batch_orchestrator_service.domain.advancing import Effect
from batch_orchestrator_service.domain.states import RunState
from batch_orchestrator_service.events.decoding import consumed_topics
from batch_orchestrator_service.protocols import AuditEntry
from common_core.flow import MAX_REFERENCE_DEPTH
from common_core.topics import EventName, topic_name
from service_libs.exceptions import DeadLetterLimitError, StoreUnavailableError
from service_libs.kafka.policy import DeadLetterLimit
from service_libs.kafka.records import ConsumedRecord
from tests.support.bos import Orchestra
from tests.support.consuming import ControlledDlq
from tests.support.orchestrating import named


class Handled:
    """A poll handler over a store in memory."""

    def __init__(self, limit: DeadLetterLimit | None = None) -> None:
        self.one = Orchestra()
        self.dlq = ControlledDlq()
        self.tries = 0
        self.offset = 0
        self.handler = PollHandler(
            self.one.requests,
            self.one.facts,
            self.dlq,
            self.one.metrics,
            group_id="group",
            limit=limit,
        )

    def record(self, event: EventName, data: dict[str, Any], **changes: object) -> ConsumedRecord:
        """Return a record as a neighbour sends it."""
        envelope = {
            "event_id": str(named("event")),
            "event_type": topic_name(event),
            "event_timestamp": "2026-01-31T12:00:00Z",
            "source_service": "a neighbour",
            "schema_version": 1,
            "correlation_id": str(named("envelope")),
            "data": data,
        } | changes
        return self.raw(event, json.dumps(envelope).encode())

    def raw(self, event: EventName, value: bytes) -> ConsumedRecord:
        """Return a record with this value."""
        self.offset += 1
        return ConsumedRecord(topic_name(event), 0, self.offset, 0, b"batch-1", value)

    def request(self, **changes: Any) -> ConsumedRecord:  # noqa: ANN401 - fields of an event
        """Return a client's request."""
        data = {
            "batch_id": "batch-1",
            "requested_pipeline": "nlp",
            "client_correlation_id": str(named("client")),
            "user_id": "teacher",
        }
        return self.record(EventName.CLIENT_BATCH_PIPELINE_REQUEST, data | changes)

    async def handle(self, *records: ConsumedRecord) -> None:
        """Handle a poll; what is unavailable is tried again at once."""
        await self.handler.handle(records, self._until_available)

    async def _until_available(self, attempt: Callable[[], Awaitable[None]]) -> None:
        while True:
            self.tries += 1
            try:
                return await attempt()
            except StoreUnavailableError:
                continue


REGISTERED = {
    "event": "batch.essays.registered",
    "entity_id": "batch-1",
    "expected_essay_count": 2,
    "essay_ids": ["e1", "e2"],
    "course_code": "ENG5",
    "user_id": "teacher",
    "class_id": "class-1",
    "org_id": None,
    "metadata": {"anything": 1},
}
READY = {
    "event": "batch.essays.ready",
    "batch_id": "batch-1",
    "ready_essays": [{"essay_id": "e1", "text_storage_id": "t1"}],
    "course_language": "en",
    "class_type": "REGULAR",
    "metadata": {},
}
PROVISIONED = {
    "event": "batch.content.provisioning.completed",
    "batch_id": "batch-1",
    "provisioned_count": 1,
    "expected_count": 2,
    "course_code": "ENG5",
    "user_id": "guest",
    "essays_for_processing": [{"essay_id": "e1", "text_storage_id": "t1"}],
    "correlation_id": str(named("c")),
    "timestamp": "2026-01-31T12:00:00Z",
}
OUTCOME = {
    "batch_id": "batch-1",
    "phase_name": "spellcheck",
    "phase_status": "completed_successfully",
    "processed_essays": [{"essay_id": "e1", "text_storage_id": "c1"}],
    "failed_essay_ids": [],
    "correlation_id": str(named("client")),
}


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
    decisions = [entry.decision.value for entry in handled.one.runs.audit]
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


def nested(levels: int) -> dict[str, Any]:
    """Return an object in an object, so many of them."""
    inner: dict[str, Any] = {}
    for _ in range(levels - 1):
        inner = {"in": inner}
    return inner


async def test_a_prompt_that_no_command_could_hold_is_dead_lettered_and_stops_nobody() -> None:
    """What cannot be written as JSON again would else end the consumer, or the resolver for all."""
    handled = Handled()
    deep = nested(300)

    await handled.handle(
        handled.request(prompt_payload={"cms_prompt_ref": deep}),
        handled.record(
            EventName.BATCH_ESSAYS_REGISTERED, REGISTERED | {"student_prompt_ref": deep}
        ),
        handled.record(EventName.BATCH_ESSAYS_READY, READY | {"student_prompt_ref": deep}),
    )

    assert [letter.reason for letter in handled.dlq.letters] == ["schema_violation"] * 3


async def test_a_prompt_that_is_nested_as_deep_as_is_taken_reaches_its_command() -> None:
    handled = Handled()
    deep = nested(MAX_REFERENCE_DEPTH)

    await handled.handle(
        handled.record(
            EventName.BATCH_ESSAYS_REGISTERED, REGISTERED | {"student_prompt_ref": deep}
        ),
        handled.record(EventName.BATCH_ESSAYS_READY, READY),
        handled.request(prompt_payload={"cms_prompt_ref": deep}),
    )
    await handled.one.resolver.resolve("batch-1")
    await handled.handle(handled.record(EventName.ELS_BATCH_PHASE_OUTCOME, OUTCOME))

    assert handled.dlq.letters == []
    command = json.loads(handled.one.messages[-1].value)
    assert command["data"]["student_prompt_ref"] == deep


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

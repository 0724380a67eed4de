"""A prompt that could not be written as JSON again costs its own record, and nothing else."""

import json
from typing import Any

from common_core.flow import MAX_REFERENCE_DEPTH
from common_core.topics import EventName
from tests.support.handled import OUTCOME, READY, REGISTERED, Handled


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

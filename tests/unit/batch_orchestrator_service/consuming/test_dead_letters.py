"""The dead letters of the orchestrator have the headers of its own prefix."""

import json

from batch_orchestrator_service.providers.consuming import LETTERS
from service_libs.exceptions import InvalidMessageError
from service_libs.kafka.records import ConsumedRecord, to_dead_letter
from tests.support.orchestrating import NOON

TOPIC = "huleedu.commands.batch.pipeline.v1"


def test_a_letter_says_whence_and_why_under_the_prefix_of_the_service() -> None:
    record = ConsumedRecord(TOPIC, 2, 42, 1_769_860_800_000, b"batch-1", b"{")
    error = InvalidMessageError(reason="not_json")

    topic, key, value, headers = LETTERS.wrap(to_dead_letter(record, error, "group"), NOON)

    assert (topic, key) == (f"{TOPIC}.DLQ", b"batch-1")
    assert json.loads(value)["service"] == "batch_orchestrator_service"
    named = {name: text for name, text in headers if name.startswith("bos_dlq-")}
    assert len(named) == len(headers)
    assert named["bos_dlq-original-topic"] == TOPIC.encode()
    assert named["bos_dlq-original-partition"] == b"2"
    assert named["bos_dlq-original-offset"] == b"42"
    assert named["bos_dlq-original-timestamp"] == b"1769860800000"
    assert named["bos_dlq-consumer-group"] == b"group"
    assert named["bos_dlq-reason"] == b"not_json"
    assert named["bos_dlq-exception-class"] == b"InvalidMessageError"
    assert named["bos_dlq-redrive-count"] == b"0"

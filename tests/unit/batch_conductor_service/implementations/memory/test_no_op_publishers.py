from datetime import UTC, datetime

import pytest
import structlog

from batch_conductor_service.implementations.memory.stand_ins import (
    NoOpDlqProducerImpl,
    NoOpSkipEventPublisher,
)
from batch_conductor_service.resolving.announcing import skipped_phases
from service_libs.kafka.records import DeadLetter
from tests.support.resolutions import resolution_of


@pytest.fixture
def letter() -> DeadLetter:
    """A dead letter with something private in it."""
    return DeadLetter(
        base_topic="topic",
        reason="not_json",
        error_type="InvalidMessageError",
        error_message="",
        payload=b"private",
    )


async def test_what_is_not_sent_is_logged_without_its_content(letter: DeadLetter) -> None:
    with structlog.testing.capture_logs() as logs:
        await NoOpDlqProducerImpl().publish(letter)
        events = skipped_phases(resolution_of("b1", "spellcheck"), datetime.now(UTC))
        unpublished = await NoOpSkipEventPublisher().publish_skips(events)

    assert unpublished == {}
    assert [entry["event"] for entry in logs] == ["dead_letter_not_sent", "skip_events_not_sent"]
    assert "private" not in repr(logs)

"""A message that Kafka does not take is seen."""

from datetime import timedelta

import pytest

from batch_orchestrator_service.implementations.memory.runs import MemoryOutbox, MemoryRuns
from batch_orchestrator_service.operating.progress import OutboxProgress
from batch_orchestrator_service.protocols import Backlog
from tests.support.clocks import SettableClock
from tests.support.orchestrating import NOON


class AgeingOutbox(MemoryOutbox):
    """An outbox with one message, since noon."""

    async def get_backlog(self, now: object) -> Backlog:
        assert now == NOON + timedelta(seconds=self.age)
        return Backlog(depth=1, oldest_age_seconds=self.age)

    age = 0.0


@pytest.mark.parametrize(("age", "is_behind"), [(59, False), (61, True)])
async def test_a_message_that_waits_for_longer_than_a_minute_is_a_cause(
    age: float, *, is_behind: bool
) -> None:
    outbox = AgeingOutbox(MemoryRuns())
    outbox.age = age
    progress = OutboxProgress(outbox, SettableClock(NOON + timedelta(seconds=age)))

    await progress.refresh()

    assert bool(progress.causes) == is_behind
    assert progress.describe() == {"depth": 1, "oldest_age_seconds": age}

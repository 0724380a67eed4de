"""A pipeline file with other dependencies: what was counted by the old ones is not believed."""

import pytest

from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.domain.resolution import judge_step
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.models import BatchId, StepName
from common_core.verdicts import Reason
from tests.support.builders import essay_names, evidence, minutes, registration, reported, update
from tests.support.repositories import RedisSetup, redis_repository

BATCH, NLP = BatchId("batch"), StepName("nlp")
TWO = essay_names(2)
NOTHING_NEEDED = StepDependencies(
    depends_on={StepName("spellcheck"): (), NLP: ()}, version="of another file"
)


async def reason(setup: RedisSetup) -> Reason:
    return judge_step((await setup.repository.get_summary(BATCH)).summary, NLP).reason


@pytest.mark.parametrize("writes", [True, False], ids=["written", "asked"])
@pytest.mark.parametrize("has_archive", [True, False], ids=["with-archive", "without"])
async def test_essays_are_counted_again(
    redis_url: str, archive: PostgresBatchStateRepository, *, has_archive: bool, writes: bool
) -> None:
    behind = archive if has_archive else None
    async with redis_repository(redis_url, behind, dependencies=NOTHING_NEEDED) as before:
        said = [registration(2, essays=TWO), *reported(TWO, step="nlp")]
        newer = [evidence(essay, at=minutes(1)) for essay in TWO]
        await before.repository.apply([update(BATCH, *said, *newer)])
        assert await reason(before) is Reason.ALREADY_COMPLETED

    async with redis_repository(redis_url, behind) as after:
        if writes:
            await after.repository.apply([update(BATCH, evidence(TWO[0], at=minutes(2)))])

        assert await reason(after) is Reason.PREREQUISITE_NEWER

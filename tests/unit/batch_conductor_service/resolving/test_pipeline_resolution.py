from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from batch_conductor_service.consuming.group_freshness import AlwaysFresh, GroupFreshness
from batch_conductor_service.domain.freshness import GroupPromises, PartitionFreshness
from batch_conductor_service.domain.resolution import Resolution, ResolutionRequest
from batch_conductor_service.exceptions import UnknownPipelineError
from batch_conductor_service.implementations.memory.batch_state import MockBatchStateRepositoryImpl
from batch_conductor_service.models import BatchId, SummaryReading
from batch_conductor_service.protocols import FreshnessProtocol
from batch_conductor_service.resolving.pipeline_resolution import (
    DefaultPipelineResolutionService,
    DefaultPipelineRules,
)
from common_core.records import TopicLook
from tests.support.builders import (
    NOON,
    essay_names,
    evidence,
    registration,
    reported,
    update,
)
from tests.support.clocks import SettableClock
from tests.support.pipelines import DEPENDENCIES, service_catalog

CLOCK = SettableClock()


class PartialRepository(MockBatchStateRepositoryImpl):
    """Answers from a store that may not have everything."""

    def __init__(self, *, is_degraded: bool = False, is_whole: bool = True) -> None:
        super().__init__(DEPENDENCIES)
        self.is_degraded, self.is_whole = is_degraded, is_whole
        self.batches_read: list[BatchId] = []

    async def get_summary(self, batch_id: BatchId) -> SummaryReading:
        self.batches_read.append(batch_id)
        reading = await super().get_summary(batch_id)
        summary = replace(reading.summary, is_whole=self.is_whole)
        return SummaryReading(summary=summary, is_degraded=self.is_degraded)


async def complete(repository: MockBatchStateRepositoryImpl, *steps: str) -> None:
    items = [evidence(essay, step=step) for step in steps for essay in essay_names(3)]
    await repository.apply([update("batch", registration(3), *items)])


async def resolve(
    repository: MockBatchStateRepositoryImpl,
    name: str,
    essays_total: int | None = None,
    *,
    freshness: FreshnessProtocol | None = None,
    not_before: datetime | None = None,
) -> Resolution:
    service = DefaultPipelineResolutionService(
        service_catalog(), DefaultPipelineRules(), repository, freshness or AlwaysFresh(CLOCK)
    )
    request = ResolutionRequest(
        batch_id=BatchId("batch"),
        requested_pipeline=name,
        correlation_id="correlation",
        essays_total=essays_total,
        not_before=not_before,
    )
    return await service.resolve(request)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("ai_feedback", ["spellcheck", "nlp", "ai_feedback"]),
        ("cj_assessment", ["spellcheck", "cj_assessment"]),
        ("nlp", ["spellcheck", "nlp"]),
        ("comprehensive", ["spellcheck", "cj_assessment", "nlp", "ai_feedback"]),
        ("spellcheck", ["spellcheck"]),
    ],
)
async def test_of_a_new_batch_the_whole_pipeline_runs(name: str, steps: Sequence[str]) -> None:
    resolution = await resolve(MockBatchStateRepositoryImpl(DEPENDENCIES), name)

    assert resolution.final_pipeline == steps
    assert resolution.skipped == []
    assert not resolution.is_degraded


async def test_what_another_pipeline_completed_is_skipped() -> None:
    repository = MockBatchStateRepositoryImpl(DEPENDENCIES)
    await complete(repository, "spellcheck", "nlp")

    resolution = await resolve(repository, "comprehensive")

    assert resolution.final_pipeline == ["cj_assessment", "ai_feedback"]
    assert resolution.skipped == ["spellcheck", "nlp"]
    assert resolution.pipeline.name == "comprehensive"


async def test_a_batch_with_everything_done_has_nothing_to_run() -> None:
    repository = MockBatchStateRepositoryImpl(DEPENDENCIES)
    await complete(repository, "spellcheck")
    compared = reported(essay_names(3), step="cj_assessment", fingerprint="own:1")
    await repository.apply([update("batch", *compared)])

    assert (await resolve(repository, "cj_assessment")).final_pipeline == []


async def test_the_same_state_gives_the_same_answer() -> None:
    repository = MockBatchStateRepositoryImpl(DEPENDENCIES)
    await complete(repository, "spellcheck")

    first, again = await resolve(repository, "nlp"), await resolve(repository, "nlp")

    assert first == again


async def test_the_total_of_the_request_reaches_the_rules() -> None:
    repository = MockBatchStateRepositoryImpl(DEPENDENCIES)
    await repository.apply([update("batch", evidence("essay-1"))])

    assert (await resolve(repository, "spellcheck")).final_pipeline == ["spellcheck"]
    assert (await resolve(repository, "spellcheck", essays_total=1)).final_pipeline == []


async def test_an_unknown_name_is_refused_before_anything_is_read() -> None:
    repository = PartialRepository()

    with pytest.raises(UnknownPipelineError, match=r"'unknown'.*ai_feedback.*spellcheck"):
        await resolve(repository, "unknown")

    assert repository.batches_read == []


@pytest.mark.parametrize(
    ("is_degraded", "is_whole", "expected"),
    [(False, True, False), (True, True, True), (False, False, True), (True, False, True)],
)
async def test_an_answer_past_the_cache_or_from_a_part_is_degraded(
    *, is_degraded: bool, is_whole: bool, expected: bool
) -> None:
    repository = PartialRepository(is_degraded=is_degraded, is_whole=is_whole)
    await complete(repository, "spellcheck")

    resolution = await resolve(repository, "nlp")

    assert resolution.is_degraded is expected
    assert resolution.skipped == (["spellcheck"] if is_whole else [])
    assert repository.batches_read == ["batch"]


PARTITION = ("topic", 0)


def freshness_of(
    applied_until: datetime | None = NOON,
    archived_until: datetime | None = NOON,
    *,
    max_staleness_seconds: float = 30,
) -> GroupFreshness:
    """Return the freshness of a group that reads one partition, at noon."""
    group = GroupFreshness(SettableClock(), max_staleness_seconds=max_staleness_seconds)
    group.note_look(TopicLook(asked_at=NOON, partitions=frozenset({PARTITION})))
    if applied_until is not None:
        promise = PartitionFreshness(applied_until=applied_until, archived_until=archived_until)
        group.note_promises(GroupPromises(partitions={PARTITION: promise}))
    return group


def before(seconds: float) -> datetime:
    return NOON - timedelta(seconds=seconds)


@pytest.mark.parametrize("applied_until", [None, before(31)])
async def test_a_service_that_does_not_listen_does_not_prune(
    applied_until: datetime | None,
) -> None:
    repository = MockBatchStateRepositoryImpl(DEPENDENCIES)
    await complete(repository, "spellcheck", "nlp")

    resolution = await resolve(repository, "nlp", freshness=freshness_of(applied_until))

    assert resolution.final_pipeline == ["spellcheck", "nlp"]
    assert {phase.reason for phase in resolution.phases} == {"state_unknown"}
    assert resolution.is_degraded
    assert resolution.known_until == applied_until


async def test_one_that_is_told_never_to_doubt_does_not() -> None:
    repository = MockBatchStateRepositoryImpl(DEPENDENCIES)
    await complete(repository, "spellcheck", "nlp")

    resolution = await resolve(
        repository, "nlp", freshness=freshness_of(None, max_staleness_seconds=0)
    )

    assert resolution.final_pipeline == []
    assert not resolution.is_degraded


async def test_an_answer_that_is_fresh_says_up_to_when() -> None:
    repository = MockBatchStateRepositoryImpl(DEPENDENCIES)
    await complete(repository, "spellcheck", "nlp")

    resolution = await resolve(repository, "nlp", freshness=freshness_of(before(29)))

    assert resolution.final_pipeline == []
    assert resolution.known_until == before(29)


@pytest.mark.parametrize(("not_before", "is_skipped"), [(before(5), True), (before(4), False)])
async def test_what_the_caller_knows_of_has_to_be_in_the_answer(
    not_before: datetime, *, is_skipped: bool
) -> None:
    repository = MockBatchStateRepositoryImpl(DEPENDENCIES)
    await complete(repository, "spellcheck", "nlp")

    resolution = await resolve(
        repository, "nlp", freshness=freshness_of(before(5)), not_before=not_before
    )

    assert bool(resolution.skipped) is is_skipped
    assert resolution.is_degraded is not is_skipped


@pytest.mark.parametrize(("archived_until", "is_skipped"), [(NOON, True), (None, False)])
async def test_an_answer_from_the_archive_is_as_fresh_as_the_archive(
    archived_until: datetime | None, *, is_skipped: bool
) -> None:
    """What was applied, and was not archived when the cache went away, is not in it."""
    repository = PartialRepository(is_degraded=True)
    await complete(repository, "spellcheck", "nlp")

    resolution = await resolve(repository, "nlp", freshness=freshness_of(NOON, archived_until))

    assert bool(resolution.skipped) is is_skipped
    assert resolution.known_until == archived_until


async def test_what_is_applied_while_the_state_is_read_is_not_promised() -> None:
    group = freshness_of(before(5))

    class SlowRepository(MockBatchStateRepositoryImpl):
        async def get_summary(self, batch_id: BatchId) -> SummaryReading:
            reading = await super().get_summary(batch_id)
            promise = PartitionFreshness(applied_until=NOON)
            group.note_promises(GroupPromises(partitions={PARTITION: promise}))
            return reading

    resolution = await resolve(SlowRepository(DEPENDENCIES), "nlp", freshness=group)

    assert resolution.known_until == before(5)


@pytest.mark.parametrize(("read_from", "is_known"), [("one", True), ("another", False)])
async def test_what_was_applied_to_other_data_is_not_promised_of_these(
    read_from: str, *, is_known: bool
) -> None:
    """Redis came back without its last seconds, and nobody has learnt it yet."""
    group = freshness_of(NOON)
    promise = PartitionFreshness(applied_until=NOON)
    group.note_promises(GroupPromises(partitions={PARTITION: promise}, server_run="one"))

    class Repository(MockBatchStateRepositoryImpl):
        async def get_summary(self, batch_id: BatchId) -> SummaryReading:
            return replace(await super().get_summary(batch_id), server_run=read_from)

    repository = Repository(DEPENDENCIES)
    await complete(repository, "spellcheck")

    resolution = await resolve(repository, "spellcheck", freshness=group)

    assert (resolution.known_until is not None) is is_known
    assert bool(resolution.skipped) is is_known

from batch_conductor_service.models import BatchId
from batch_conductor_service.operating.auditing import (
    AuditedPage,
    Auditor,
    AuditPolicy,
    Repairer,
)
from tests.support.auditing import Stores, archived, cached
from tests.support.builders import evidence, update
from tests.support.pipelines import DEPENDENCIES

POLICY = AuditPolicy(page_size=2, pause_seconds=0, tries=3, retry_seconds=0)
A, B, C, D, E = map(BatchId, "abcde")


def auditor_of(stores: Stores) -> Auditor:
    return Auditor(stores.cache, stores.records, stores, DEPENDENCIES, POLICY)


def repairer_of(stores: Stores) -> Repairer:
    return Repairer(auditor_of(stores), stores.cache, stores.records, stores, POLICY)


async def repaired(stores: Stores, *batches: BatchId) -> AuditedPage:
    """Return how the batches are after a repair."""
    return await repairer_of(stores).repair(await auditor_of(stores).audit(batches))


async def listed(auditor: Auditor, *batches: BatchId) -> list[list[BatchId]]:
    return [list(page) async for page in auditor.list_batches(batches)]


async def test_all_batches_that_either_side_knows_are_listed_once_page_by_page() -> None:
    stores = Stores()
    stores.postgres = {batch: archived(update(batch)) for batch in (A, B, C)}
    stores.redis = {batch: cached(update(batch)) for batch in (B, D, E)}

    assert await listed(auditor_of(stores)) == [[A, B], [C], [D, E]]


async def test_named_batches_are_listed_once_each() -> None:
    assert await listed(auditor_of(Stores()), C, A, C, B) == [[C, A], [B]]


async def test_without_postgres_all_that_redis_knows_are_listed_and_compared() -> None:
    stores = Stores()
    stores.redis = {A: cached(update("a")), B: cached(update("b"), "lost")}
    auditor = Auditor(stores.cache, None, None, DEPENDENCIES, POLICY)

    assert await listed(auditor) == [[A, B]]
    assert [one.batch_id for one in (await auditor.audit([A, B])).differing] == [B]


async def test_batches_that_agree_are_looked_at_once() -> None:
    stores = Stores()
    stores.redis[A] = cached(update("a", evidence("e1")))
    stores.postgres = {
        A: archived(update("a", evidence("e1"))),
        B: archived(update("b", evidence("e1"))),
    }

    page = await auditor_of(stores).audit([A, B, C])

    assert (page.audited, page.unmerged, page.unknown, page.differing) == (3, (B,), (C,), ())
    assert stores.looks == 1


async def test_a_difference_that_stays_is_reported() -> None:
    stores = Stores()
    stores.redis[A] = cached(update("a", evidence("e1")))

    [found] = (await auditor_of(stores).audit([A])).differing

    assert found.batch_id == A
    assert stores.looks == 2


async def test_a_difference_that_is_gone_at_the_second_look_is_not_reported() -> None:
    stores = Stores()
    stores.redis[A] = cached(update("a", evidence("e1")))

    def arrive() -> None:
        if stores.looks == 2:
            stores.postgres[A] = archived(update("a", evidence("e1")))

    stores.on_look = arrive

    assert (await auditor_of(stores).audit([A])).differing == ()


async def test_a_difference_that_has_become_another_is_not_reported() -> None:
    """Each look sees a moment of a batch that is being written."""
    stores = Stores()

    def write_on() -> None:
        stores.redis[A] = cached(update("a", evidence(f"e{stores.looks}")))

    stores.on_look = write_on

    assert (await auditor_of(stores).audit([A])).differing == ()


async def test_what_is_on_its_way_is_not_reported() -> None:
    stores = Stores()
    stores.redis[A] = cached(update("a", evidence("e1")))
    stores.queued = [update("a", evidence("e1")), update("b", evidence("e1"))]

    assert (await auditor_of(stores).audit([A])).differing == ()


async def test_a_repair_brings_both_sides_together() -> None:
    stores = Stores()
    stores.redis = {A: cached(update("a", evidence("e1")))}
    stores.postgres = {A: archived(update("a", evidence("e2")))}

    left = await repaired(stores, A)

    assert left == AuditedPage(audited=1)
    assert {e.essay_id for e in stores.redis[A].state.as_update().evidence} == {"e1", "e2"}


async def test_a_repair_counts_again_what_postgres_alone_has() -> None:
    stores = Stores()
    right = archived(update("a", evidence("e1")))
    stores.postgres = {A: type(right)(state=right.state)}
    page = await auditor_of(stores).audit([A])

    left = await repairer_of(stores).repair(page)

    assert (len(page.differing), page.unmerged) == (1, (A,))
    assert left == AuditedPage(audited=1)
    assert stores.postgres[A].counts == right.counts
    assert stores.redis[A].state.as_update() == update("a", evidence("e1"))


async def test_a_repair_merges_what_redis_lacks_or_has_only_in_part() -> None:
    """And queues nothing of it: Postgres has it, or the queue."""
    stores = Stores()
    stores.redis = {A: cached(update("a", evidence("e1")), is_current=False)}
    stores.postgres = {
        A: archived(update("a", evidence("e1"), evidence("e2"))),
        B: archived(update("b", evidence("e1"))),
    }
    page = await auditor_of(stores).audit([A, B])

    left = await repairer_of(stores).repair(page)

    assert (page.unmerged, page.differing) == ((A, B), ())
    assert left == AuditedPage(audited=2)
    assert {e.essay_id for e in stores.redis[A].state.as_update().evidence} == {"e1", "e2"}
    assert stores.redis[B].state.as_update() == update("b", evidence("e1"))
    assert stores.queued == [update("a"), update("b")]  # which say nothing


async def test_a_repair_changes_nothing_of_batches_that_agree_or_that_nobody_knows() -> None:
    stores = Stores()
    stores.redis = {A: cached(update("a", evidence("e1")))}
    stores.postgres = {one: archived(update(one, evidence("e1"))) for one in (A, B)}

    await repaired(stores, A, B, C)

    assert stores.queued == [update("b")]
    assert C not in stores.redis


async def test_only_what_differs_is_counted_again() -> None:
    """Counting is a write, and a batch that is written is kept for longer."""
    stores = Stores()
    stores.redis = {A: cached(update("a", evidence("e1")))}
    stores.postgres = {
        A: archived(update("a", evidence("e2"))),
        B: archived(update("b", evidence("e1"))),
    }

    await repaired(stores, A, B)

    assert stores.recounted == [A]


async def test_a_batch_that_waits_for_postgres_is_tried_again() -> None:
    stores = Stores()
    stores.postgres = {A: archived(update("a", evidence("e1")))}
    stores.waiting_writes = 2

    assert await repaired(stores, A) == AuditedPage(audited=1)


async def test_what_has_arrived_in_postgres_by_the_next_try_is_merged() -> None:
    stores = Stores()
    stores.postgres = {A: archived(update("a", evidence("e1")))}
    stores.waiting_writes = 1

    def arrive() -> None:
        if stores.looks == 2:
            stores.postgres[A] = archived(update("a", evidence("e1"), evidence("e2")))

    stores.on_look = arrive

    assert (await repaired(stores, A)).unmerged == ()
    assert {e.essay_id for e in stores.redis[A].state.as_update().evidence} == {"e1", "e2"}


async def test_a_batch_that_waits_too_long_is_still_to_be_merged() -> None:
    stores = Stores()
    stores.postgres = {A: archived(update("a", evidence("e1")))}
    stores.waiting_writes = 3

    assert (await repaired(stores, A)).unmerged == (A,)

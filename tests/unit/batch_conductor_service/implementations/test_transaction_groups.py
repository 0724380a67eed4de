"""Which batches of a poll share a transaction."""

import random

from batch_conductor_service.implementations.redis.batch_state import (
    BATCHES_PER_TRANSACTION,
    STATEMENTS_PER_TRANSACTION,
    _Asked,
    _by_transaction,
)
from batch_conductor_service.models import BatchUpdate
from tests.support.builders import evidence, update

BATCHES = [f"batch-{number}" for number in range(8 * BATCHES_PER_TRANSACTION)]


def groups_of(updates: list[BatchUpdate]) -> list[list[_Asked]]:
    return list(_by_transaction([_Asked(one) for one in updates]))


def poll(batches: list[str]) -> list[BatchUpdate]:
    """Return an update of each batch, in an order of its own."""
    chosen = random.sample(batches, len(batches))
    return [update(batch, evidence("essay-1")) for batch in chosen]


def test_groups_are_full_where_no_batch_comes_twice() -> None:
    sizes = [len(some) for some in groups_of(poll(BATCHES))]

    assert set(sizes) == {BATCHES_PER_TRANSACTION}


def test_every_update_is_in_one_group_and_no_group_has_a_batch_twice() -> None:
    updates = [*poll(BATCHES), *poll(BATCHES[:50])]

    groups = groups_of(updates)

    assert sorted(map(id, updates)) == sorted(id(one.update) for some in groups for one in some)
    assert max(map(len, groups)) <= BATCHES_PER_TRANSACTION
    assert all(len({one.update.batch_id for one in some}) == len(some) for some in groups)


def test_updates_of_one_batch_keep_their_order() -> None:
    first, second = update("b", evidence("essay-1")), update("b", evidence("essay-2"))

    groups = groups_of([first, *poll(BATCHES), second])

    assert [o.update for some in groups for o in some if o.update.batch_id == "b"] == [
        first,
        second,
    ]


def test_a_large_update_has_a_transaction_of_its_own() -> None:
    large = update("large", *(evidence(f"e-{n}") for n in range(STATEMENTS_PER_TRANSACTION)))

    groups = groups_of([large, *poll(BATCHES[:10])])

    assert [large] in [[one.update for one in some] for some in groups]


def test_a_group_of_one_process_meets_few_groups_of_another() -> None:
    """Whatever the order in which they have the batches: else each would lose to all of them."""
    ours, theirs = groups_of(poll(BATCHES)), groups_of(poll(BATCHES))
    batches = [{one.update.batch_id for one in some} for some in theirs]

    met = [
        sum(bool(those & {one.update.batch_id for one in some}) for those in batches)
        for some in ours
    ]

    assert max(met) <= 3


def test_two_processes_do_not_begin_at_the_same_batches() -> None:
    firsts = {groups_of(poll(BATCHES))[0][0].update.batch_id for _ in range(20)}

    assert len(firsts) > 5

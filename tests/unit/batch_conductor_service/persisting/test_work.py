"""How an update is cut into pieces that one transaction can take."""

from batch_conductor_service.persisting.work import Piece, WorkInHand, halves
from tests.support.builders import essay_names, evidence, outcome, registration, update


def piece(entry_id: str, essays: int) -> Piece:
    said = (evidence(essay) for essay in essay_names(essays))
    return Piece(entry_id=entry_id, update=update("batch", *said))


def test_small_updates_go_together_up_to_the_limit() -> None:
    work = WorkInHand()
    work.add([piece("1-0", 2), piece("2-0", 2), piece("3-0", 2)])

    first = work.first(4)

    assert [(one.entry_id, one.rows) for one in first] == [("1-0", 2), ("2-0", 2)]
    assert work.finish(first) == ["1-0", "2-0"]
    assert [one.entry_id for one in work.first(4)] == ["3-0"]


def test_a_large_update_is_finished_with_its_last_piece() -> None:
    work = WorkInHand()
    whole = piece("1-0", 7)
    work.add([whole])
    finished, written = [], []
    while work:
        some = work.first(3)
        written += [item for one in some for item in one.update.evidence]
        finished.append(work.finish(some))

    assert finished == [[], [], ["1-0"]]
    assert sorted(written, key=lambda e: e.essay_id) == sorted(
        whole.update.evidence, key=lambda e: e.essay_id
    )


def test_what_was_not_written_is_the_first_again_and_may_be_cut_smaller() -> None:
    work = WorkInHand()
    work.add([piece("1-0", 8)])
    work.first(8)

    assert [one.rows for one in work.first(4)] == [4]
    assert [one.rows for one in work.first(1)] == [1]
    assert [one.rows for one in work.first(8)] == [1, 3, 4]


def test_what_takes_completeness_away_is_written_first() -> None:
    """Read half way, Postgres then says less than is done, never more."""
    said = update(
        "batch", evidence("e1"), evidence("e2", "failed"), outcome("partial"), registration(2)
    )

    first, rest = Piece(entry_id="1-0", update=said).split(3)

    assert first.update.outcomes == said.outcomes
    assert first.update.registrations == said.registrations
    assert [item.essay_id for item in first.update.evidence] == ["e2"]
    assert [item.essay_id for item in rest.update.evidence] == ["e1"]


def test_an_update_that_says_nothing_is_a_piece_that_ends() -> None:
    work = WorkInHand()
    work.add([Piece(entry_id="1-0", update=update("batch"))])

    assert work.finish(work.first(1)) == ["1-0"]
    assert not work


def test_halving_ends_at_a_single_row() -> None:
    assert halves([piece("1-0", 1)]) is None
    assert halves([piece("1-0", 3), piece("2-0", 3)]) == ([piece("1-0", 3)], [piece("2-0", 3)])
    cut = halves([piece("1-0", 3)])
    assert cut
    assert [one.rows for half in cut for one in half] == [1, 2]

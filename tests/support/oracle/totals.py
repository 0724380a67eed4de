"""How many essays a batch has, and which of them count."""

from dataclasses import dataclass

from tests.support.oracle.evidence import Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """The number of essays, and their names, where the registration in force has them.

    Where neither a registration nor the question says it, the number is not known, but it is at
    least what outcomes and summaries said. Registrations of the same time that name different
    essays contradict each other.
    """

    number: int
    is_known: bool = True
    is_contradictory: bool = False
    names: frozenset[str] = frozenset()


def count_essays(evidence: Evidence, asked: int | None) -> Total:
    """Return how many essays there are, by all that was said."""
    first = evidence.first_registered()
    if not first:
        said = [size for _, size in evidence.sizes()]
        return Total(number=max([*said, asked or 0], default=0), is_known=asked is not None)
    since = max(first.values())
    in_force = [each for each in evidence.registrations if first[each.words] == since]
    again = [each.size for each in evidence.registrations if each.clocks.bound(each.said) >= since]
    said = [size for moment, size in evidence.sizes() if moment >= since]
    names = {each.essays for each in in_force}
    return Total(
        number=max([*(each.size for each in in_force), *again, *said, asked or 0]),
        is_contradictory=len(names) > 1,
        names=next(iter(names)),
    )

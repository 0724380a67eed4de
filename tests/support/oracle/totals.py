"""How many essays a batch has, and which of them count."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.oracle.evidence import Evidence
from tests.support.oracle.wire import Registration


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """The number of essays, and their names, where the registration in force has them.

    Where neither a registration nor the question says it, the number is not known, but it is at
    least what outcomes and summaries said.
    """

    number: int
    is_known: bool
    names: frozenset[str]


def possible_totals(evidence: Evidence, asked: int | None) -> Iterator[Total]:
    """Yield the total by each registration that may be in force: more than one only in a tie."""
    in_force = _in_force(evidence)
    if not in_force:
        said = [size for _, size in evidence.sizes()]
        yield Total(
            number=max([*said, asked or 0], default=0),
            is_known=asked is not None,
            names=frozenset(),
        )
    for each in in_force:
        yield _total_of(evidence, each, asked)


def _in_force(evidence: Evidence) -> list[Registration]:
    """Return the latest registration; of several at the same time the largest ones."""
    first = evidence.first_registered()
    latest = [each for each in evidence.registrations if first[each.words] == max(first.values())]
    largest = [each for each in latest if each.size == max(other.size for other in latest)]
    return list({each.words: each for each in largest}.values())


def _total_of(evidence: Evidence, in_force: Registration, asked: int | None) -> Total:
    since = evidence.first_registered()[in_force.words]
    again = [each.size for each in evidence.registrations if each.clocks.bound(each.said) >= since]
    said = [size for moment, size in evidence.sizes() if moment >= since]
    return Total(
        number=max([in_force.size, *again, *said, asked or 0]),
        is_known=True,
        names=in_force.essays,
    )

"""How far each partition is read and applied, and up to when that was all there was. Pure.

What proves that a partition was read to its end is the broker's own answer to a fetch. The time
that counts is when the fetch was *asked*: an answer may lie here while the process is stopped.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from common_core.records import Partition

CONFIRMATIONS = 3  # that a broker gives the end of its log exactly, before it is believed


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchAnswer:
    """What a fetch of one partition from an offset was answered.

    Attributes:
        asked_at: the time of day just before the request was sent.
        end: the offset after the last record that the partition has, those of open transactions
            among them; some brokers say less.
        is_empty: whether nothing came.
    """

    partition: Partition
    asked_at: datetime
    offset: int
    end: int
    is_empty: bool


class _Mark(NamedTuple):
    """Whoever has applied all below the offset has applied all that there was at that time."""

    offset: int
    asked_at: datetime
    is_from_end: bool  # the broker's end, rather than an empty answer


@dataclass(slots=True)
class _Partition:
    start: int  # where this reading began
    reached: int  # everything below was handed out
    in_hand: int | None = None  # the first record that was handed out and not yet applied
    ended_at: int | None = None  # where the latest answer was empty
    known_end: int | None = None
    applied_until: datetime | None = None
    marks: list[_Mark] = field(default_factory=list)

    @property
    def applied(self) -> int:
        return self.reached if self.in_hand is None else self.in_hand


class ReadingProgress:
    """One member's reading of its partitions, by one source.

    An open transaction hides every record after its first one, those of others that are facts among
    them. So an empty answer below the end shows nothing: the partition is not read to the end while
    a transaction is open in it.

    A partition that is written to all the time may never give an empty answer. There the end that
    the broker gives counts, once it has proved exact; a broker that was ever wrong about it is not
    believed, and only empty answers count.
    """

    def __init__(self) -> None:
        self._partitions: dict[Partition, _Partition] = {}
        self._confirmations = 0
        self._is_contradicted = False

    def clear(self) -> None:
        """Forget the partitions: they are given away."""
        self._partitions.clear()

    def rewind(self, points: Mapping[Partition, int]) -> None:
        """Note that these partitions are read again from these offsets."""
        for partition, offset in points.items():
            self._partitions[partition] = _Partition(start=offset, reached=offset)

    def note_answer(self, answer: FetchAnswer) -> None:
        """Take in an answer to a fetch from where the reading stands."""
        one = self._partitions.setdefault(
            answer.partition, _Partition(start=answer.offset, reached=answer.offset)
        )
        one.reached = max(one.reached, answer.offset)
        one.ended_at = answer.offset if answer.is_empty else None
        one.known_end = answer.end
        self._judge_end(one.reached, answer)
        mark = _mark(answer)
        if mark is not None:
            # What is reached sooner, and shows more, makes the others superfluous.
            one.marks = [*(m for m in one.marks if m.offset < mark.offset), mark]

    def take_in_hand(self, records: Iterable[tuple[Partition, int]]) -> None:
        """Note the records, in their order, that were handed out and are not yet applied."""
        taken: dict[Partition, _Partition] = {}
        for partition, offset in records:
            one = self._partitions.setdefault(partition, _Partition(start=offset, reached=offset))
            one.in_hand = offset if one.in_hand is None else one.in_hand
            one.reached = offset + 1
            taken[partition] = one
        for one in taken.values():
            if one.known_end is not None:
                self._compare(one.reached, one.known_end)

    def finish(self) -> None:
        """Note that all that was handed out is applied."""
        for one in self._partitions.values():
            one.in_hand = None

    def applied_until(self) -> dict[Partition, datetime]:
        """Return for each partition up to when all that it held is applied, as far as is known."""
        for one in self._partitions.values():
            passed = [mark for mark in one.marks if mark.offset <= one.applied]
            for mark in passed:
                if not mark.is_from_end or self._is_end_exact:
                    one.applied_until = mark.asked_at
            one.marks = [mark for mark in one.marks if mark.offset > one.applied]
        return {
            partition: one.applied_until
            for partition, one in self._partitions.items()
            if one.applied_until is not None
        }

    def read_ends(self) -> dict[Partition, int]:
        """Return, where all is applied and no record follows, the offset of the next.

        It may be after the latest record: the marker that ends a transaction has an offset, too.
        """
        return {
            partition: one.reached
            for partition, one in self._partitions.items()
            if one.in_hand is None and one.ended_at == one.reached > one.start
        }

    @property
    def _is_end_exact(self) -> bool:
        return self._confirmations >= CONFIRMATIONS and not self._is_contradicted

    def _judge_end(self, reached: int, answer: FetchAnswer) -> None:
        if reached > answer.end:
            self._is_contradicted = True
        elif answer.is_empty and reached == answer.end > 0:
            self._confirmations = CONFIRMATIONS

    def _compare(self, reached: int, known_end: int) -> None:
        if reached > known_end:
            self._is_contradicted = True
        elif reached == known_end:
            self._confirmations += 1


def _mark(answer: FetchAnswer) -> _Mark | None:
    if answer.is_empty and answer.end <= answer.offset:
        return _Mark(answer.offset, answer.asked_at, is_from_end=False)
    if answer.end >= answer.offset:
        return _Mark(answer.end, answer.asked_at, is_from_end=True)
    return None

"""What the worker has in hand: updates in pieces that one transaction can take. Pure.

An update is split by its rows. Until its last piece is written all of it waits in the queue, so
nobody takes a part of it for all that was said.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from batch_conductor_service.models import BatchUpdate, EssayEvidence, ProcessingStepStatus


@dataclass(slots=True, kw_only=True)
class Piece:
    """An update, or a part of one, and the queue entry that it came from.

    Attributes:
        rows: how many it is for the database; at least 1, for no piece is free.
    """

    entry_id: str
    update: BatchUpdate
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        said = self.update
        self.rows = max(1, len(said.evidence) + len(said.outcomes) + len(said.registrations))

    def split(self, rows: int) -> tuple["Piece", "Piece"]:
        """Return the first so many rows, and the rest; both must have some.

        What takes completeness away comes first: outcomes, registrations, then failures.
        """
        said = self.update
        outcomes = min(rows, len(said.outcomes))
        registrations = min(rows - outcomes, len(said.registrations))
        evidence = sorted(said.evidence, key=_is_completed)
        left = rows - outcomes - registrations
        first = replace(
            said,
            evidence=tuple(evidence[:left]),
            outcomes=said.outcomes[:outcomes],
            registrations=said.registrations[:registrations],
        )
        rest = replace(
            said,
            evidence=tuple(evidence[left:]),
            outcomes=said.outcomes[outcomes:],
            registrations=said.registrations[registrations:],
        )
        return replace(self, update=first), replace(self, update=rest)


class WorkInHand:
    """Updates in the order of the queue, until they are written."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._unwritten: Counter[str] = Counter()  # entry -> its pieces

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, pieces: Iterable[Piece]) -> None:
        """Take these in hand, too."""
        for piece in pieces:
            self._pieces.append(piece)
            self._unwritten[piece.entry_id] += 1

    def first(self, rows: int) -> list[Piece]:
        """Return what is next, of at most so many rows; at least one piece where there is any."""
        pieces: list[Piece] = []
        for piece in self._pieces:
            pieces.append(piece)
            rows -= piece.rows
            if rows <= 0:
                break
        if rows < 0:
            last = len(pieces) - 1
            pieces[last], rest = pieces[last].split(pieces[last].rows + rows)
            self._pieces[last] = pieces[last]
            self._pieces.insert(last + 1, rest)
            self._unwritten[rest.entry_id] += 1
        return pieces

    def finish(self, pieces: Sequence[Piece]) -> list[str]:
        """Let go of these, which are the first; return the entries of which that was the last."""
        finished = []
        for piece in pieces:
            self._pieces.popleft()
            self._unwritten[piece.entry_id] -= 1
            if not self._unwritten[piece.entry_id]:
                del self._unwritten[piece.entry_id]
                finished.append(piece.entry_id)
        return finished


def halves(pieces: Sequence[Piece]) -> tuple[Sequence[Piece], Sequence[Piece]] | None:
    """Return both halves of the pieces, of a single one those of its rows; None of a single row."""
    if len(pieces) > 1:
        middle = len(pieces) // 2
        return pieces[:middle], pieces[middle:]
    [piece] = pieces
    if piece.rows == 1:
        return None
    first, rest = piece.split(piece.rows // 2)
    return [first], [rest]


def _is_completed(said: EssayEvidence) -> bool:
    return said.evidence.status is ProcessingStepStatus.COMPLETED

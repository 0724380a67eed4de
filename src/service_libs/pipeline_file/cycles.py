"""Cycles in a graph of steps. Pure; linear in steps and dependencies."""

from collections.abc import Mapping, Sequence


def find_cycles(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return cycles that share no step, each as a path that ends where it starts.

    `needs` has what each step depends on; unknown steps are ignored. Every group of steps that wait
    for each other is met by one of the cycles, so an empty list proves the graph acyclic.
    """
    search = _CycleSearch(needs)
    for name in needs:
        search.explore(name)
    return search.cycles


class _CycleSearch:
    """A depth-first search without recursion: a step met again on the path closes a cycle."""

    def __init__(self, needs: Mapping[str, Sequence[str]]) -> None:
        self.cycles: list[list[str]] = []
        self._needs = needs
        self._explored: set[str] = set()
        self._place: dict[str, int] = {}  # of each step on the path
        self._path: list[str] = []
        self._fresh_from: list[int] = []  # for each place: where steps of no known cycle begin

    def explore(self, root: str) -> None:
        """Follow everything that the step depends on."""
        waiting = [iter([root])]
        while waiting:
            name = next(waiting[-1], None)
            if name is None:
                waiting.pop()
                self._leave()
            elif name in self._place:
                self._close(self._place[name])
            elif name in self._needs and name not in self._explored:
                self._enter(name)
                waiting.append(iter(self._needs[name]))

    def _enter(self, name: str) -> None:
        self._explored.add(name)
        self._place[name] = len(self._path)
        self._fresh_from.append(self._fresh_from[-1] if self._path else 0)
        self._path.append(name)

    def _leave(self) -> None:
        if self._path:
            del self._place[self._path.pop()]
            self._fresh_from.pop()

    def _close(self, start: int) -> None:
        if start < self._fresh_from[-1]:
            return
        self.cycles.append([*self._path[start:], self._path[start]])
        self._fresh_from[start:] = range(start + 1, len(self._path) + 1)

"""Hold the service in memory against the oracle, over many histories.

python -m tests.support.oracle.run --seed 1 --histories 100000
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from tests.support.answers import (
    FALSE_GREEN,
    NEEDLESS_RUN,
    answer_from_memory,
    differences,
    judged,
    without_logs,
)
from tests.support.oracle.histories import History, make_history, shrunk

SLICE = 2000  # histories
KEPT = 3  # failing histories of a slice, a kind and a step that are shrunk


@dataclass(kw_only=True)
class Tally:
    """What a run found."""

    counts: Counter[str] = field(default_factory=Counter)
    smallest: dict[str, tuple[int, History]] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Take in what another part of the run found."""
        self.counts += other.counts
        for kind, (seed, history) in other.smallest.items():
            self.keep(kind, seed, history)

    def keep(self, kind: str, seed: int, history: History) -> None:
        """Keep the history if it is the smallest of its kind."""
        known = self.smallest.get(kind)
        if known is None or len(history.records) < len(known[1].records):
            self.smallest[kind] = (seed, history)

    def told(self) -> str:
        """Tell the counts, and the smallest history of each kind."""
        lines = [f"{count:>10}  {kind}" for kind, count in sorted(self.counts.items())]
        for kind, (seed, history) in sorted(self.smallest.items()):
            lines += ["", f"{kind} (seed {seed}, essays_total {history.essays_total})"]
            lines += described(history)
        return "\n".join(lines)


def find_differences(seeds: range) -> Tally:
    """Hold the answers to the histories of these seeds against the oracle's."""
    with asyncio.Runner() as runner, without_logs():
        tally = Tally()
        for seed in seeds:
            _try_one(runner, tally, seed)
        return tally


def _try_one(runner: asyncio.Runner, tally: Tally, seed: int) -> None:
    history = make_history(Random(seed))
    answer = runner.run(answer_from_memory(history))
    verdicts = judged(history)
    tally.counts["histories"] += 1
    tally.counts["steps judged"] += len(answer)
    tally.counts["steps skipped"] += sum(phase.is_skipped for phase in answer.values())
    tally.counts["steps that may be skipped"] += sum(it.may_skip for it in verdicts.values())
    for kind, step in differences(history, answer):
        tally.counts[kind] += 1
        tally.counts[f"{kind}: {step}"] += 1
        _shrink(runner, tally, seed, history, (kind, step))


def _shrink(
    runner: asyncio.Runner, tally: Tally, seed: int, history: History, difference: tuple[str, str]
) -> None:
    kind = ": ".join(difference)
    if tally.counts[kind] > KEPT:
        return

    def fails(smaller: History) -> bool:
        return difference in differences(smaller, runner.run(answer_from_memory(smaller)))

    tally.keep(kind, seed, shrunk(history, fails))


def main() -> int:
    """Run, tell what was found, and fail if there was a false green or a needless run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--histories", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    started = time.monotonic()
    tally = Tally()
    first = options.seed * 10_000_000
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for part in pool.imap_unordered(find_differences, _slices(first, options.histories)):
            tally.add(part)
    sys.stdout.write(f"{tally.told()}\n{time.monotonic() - started:.0f} seconds\n")
    return int(bool(tally.counts[FALSE_GREEN] or tally.counts[NEEDLESS_RUN]))


def _slices(first: int, count: int) -> Iterator[range]:
    for start in range(0, count, SLICE):
        yield range(first + start, first + min(count, start + SLICE))


def described(history: History) -> Iterator[str]:
    """Tell each record in a line: minutes since the first, our clock's lead, what it says."""
    first = min((each.sent_ms for each in history.records), default=0)
    for each in history.records:
        minute = (each.sent_ms - first) / 60_000
        lead = (each.consumed_ms - each.sent_ms) / 60_000
        yield f"{minute:+.1f} min (ours {lead:+.1f}) {each.topic} {_content(each.value)}"


def _content(value: bytes | None) -> str:
    try:
        content = json.loads(value or b"")
        told = {key: content[key] for key in ("event_timestamp", "data")}
        version = content.get("schema_version")
        return json.dumps(told) + (
            "" if version == 1 and type(version) is int else f" schema_version {version!r}"
        )
    except (ValueError, KeyError, TypeError):
        return repr(value)


if __name__ == "__main__":
    sys.exit(main())

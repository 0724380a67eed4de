"""Figures from what the runs recorded: `python -m tests.support.faults.report FILE...`."""

import json
import statistics
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def read(paths: list[str]) -> list[Record]:
    """Return the records of the files."""
    return [json.loads(line) for path in paths for line in Path(path).read_text().splitlines()]


def totals(records: list[Record]) -> str:
    """Return one sentence on all of them."""
    answers = Counter[str]()
    for record in records:
        answers.update(record["answers"])
    faults = sum(len(record["faults"]) for record in records)
    events = sum(record["events"] for record in records)
    unknown = sum(record["unknown"] for record in records)
    return (
        f"{len(records)} trials, {faults} faults fired, {events} events acknowledged, "
        f"{unknown} sends of unknown outcome, {answers['200']} answers, "
        f"{answers['degraded']} of them degraded, {answers['503']} refused."
    )


def table(records: list[Record]) -> list[str]:
    """Return the lines of a table: how often each fault fired, and the recovery from it."""
    alone, fired = defaultdict[str, list[float]](list), Counter[str]()
    for record in records:
        fired.update(record["faults"])
        for fault in set(record["faults"]):
            alone[fault].append(record["recovery_seconds"])
    head = ["| fault | fired | recovery, median | worst |", "|---|---|---|---|"]
    return head + [
        f"| `{fault}` | {fired[fault]} | {statistics.median(times):.1f} s | {max(times):.1f} s |"
        for fault, times in sorted(alone.items())
    ]


if __name__ == "__main__":
    found = read(sys.argv[1:])
    sys.stdout.write("\n".join([totals(found), "", *table(found), ""]))

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
    recovered = sum(record["recovered"] for record in records)
    return (
        f"{len(records)} trials, {faults} faults fired, {events} events acknowledged, "
        f"{unknown} sends of unknown outcome, {recovered} of which had arrived, "
        f"{answers['200']} answers, "
        f"{answers['degraded']} of them degraded, {answers['503']} refused."
    )


def table(records: list[Record]) -> list[str]:
    """Return the lines of a table: how often each fault fired, and the recovery from it alone."""
    alone, fired = defaultdict[str, list[float]](list), Counter[str]()
    for record in records:
        fired.update(record["faults"])
        if len(set(record["faults"])) == 1:
            alone[record["faults"][0]].append(record["recovery_seconds"])
    return [
        "| fault | fired | alone | recovery, median | worst |",
        "|---|---|---|---|---|",
        *(f"| `{fault}` | {fired[fault]} | {_recovery(alone[fault])} |" for fault in sorted(fired)),
    ]


def _recovery(seconds: list[float]) -> str:
    if not seconds:
        return "0 | | "
    return f"{len(seconds)} | {statistics.median(seconds):.1f} s | {max(seconds):.1f} s"


if __name__ == "__main__":
    found = read(sys.argv[1:])
    sys.stdout.write("\n".join([totals(found), "", *table(found), ""]))

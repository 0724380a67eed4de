"""What an earlier version left in Redis, and what its replicas write beside ours: recorded once.

That version kept a batch in several keys: a summary, an index, members, outcomes, registrations,
and the essays' documents. Each recording is a list of the commands that had its effect.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from tests.support.builders import (
    DAY,
    essay_names,
    evidence,
    minutes,
    outcome,
    registration,
    update,
)

LAYOUTS = Path(__file__).parent / "earlier_layout"

# What the recordings of a whole layout were made from: the second was written by a Lua script.
FIRST = update(
    "batch",
    registration(4, essays=essay_names(4)),
    *(evidence(essay, storage_id=f"text-{essay}") for essay in essay_names(2)),
)
SECOND = update(
    "batch",
    evidence("essay-3", "failed", minutes(1)),
    evidence("stranger"),
    evidence("essay-1", step="nlp", source="nlp-report", storage_id="nlp-1"),
    outcome("partial", minutes(2), step="nlp", total=2, fingerprint="nlp-report"),
)
OTHER = update("other", registration(1), evidence("essay-1"))
BARE = update("bare", registration(3))

# What the recorded turns of a replica of that version were made from. Ours came in between:
# `OUR_TURNS`, each after the turn of the same place.
THEIR_TURNS = (
    update(
        "batch",
        registration(4, essays=essay_names(4)),
        *(evidence(essay) for essay in essay_names(3)),
    ),
    update("batch", evidence("essay-2", "failed", minutes(2))),
    update("batch", evidence("essay-3", "failed", minutes(4))),
)
OUR_TURNS = (
    update("batch", evidence("essay-4", at=minutes(1))),
    update("batch", evidence("essay-2", at=minutes(3))),
    update("batch", evidence("essay-3", at=minutes(5))),
)

Commands = Sequence[Sequence[Any]]


def read_layout(name: str) -> Commands:
    """Return the commands that leave a Redis as that version left it.

    `with_archive` was written with Postgres behind it, which has `FIRST`; the rest is queued.
    `without_archive` was written without.
    """
    commands: Commands = json.loads(_read(name))
    return commands


def read_turns() -> Sequence[Commands]:
    """Return the commands of each turn of the replica of that version."""
    turns: Sequence[Commands] = json.loads(_read("turns"))
    return turns


def _read(name: str) -> str:
    """Return a recording as of now: the day on which it was made is that of the builders."""
    text = (LAYOUTS / f"{name}.json").read_text(encoding="utf-8")
    return text.replace("2025-06-01", DAY)


async def write(redis: Redis, commands: Commands) -> None:
    """Execute the commands together, as that version does."""
    async with redis.pipeline(transaction=True) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        await pipe.execute()

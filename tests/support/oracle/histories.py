"""Histories of one batch, made to reach what is complete, and to disturb it.

What is purely random is never complete, so a history starts from one in which all went well, and
a few things are added, left out, repeated or spoiled. Few essays and few times: things meet.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from hypothesis import strategies as st

from tests.support.oracle.disturbances import DISTURBANCES, Drafts
from tests.support.oracle.sending import BATCH, Draft, all_done, at, essay_names, registered
from tests.support.oracle.spoiling import spoil
from tests.support.oracle.statements import Record
from tests.support.oracle.wire import CJ, CJ_TOPIC, SPELLCHECK, SPELLCHECK_TOPIC

GRAPH = {
    SPELLCHECK: (),
    CJ: (SPELLCHECK,),
    "nlp": (SPELLCHECK,),
    "ai_feedback": (SPELLCHECK, "nlp"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The records of a batch in the order in which they were made, and what the question says."""

    records: tuple[Record, ...]
    essays_total: int | None = None
    batch: str = BATCH


def make_history(rng: Random) -> History:
    """Make a history; the same generator in the same state makes the same one."""
    size = rng.choice((1, 2, 2, 3, 3, 4))
    drafts = _begin(rng, size)
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4, 6))):
        drafts = rng.choice(DISTURBANCES)(rng, drafts, essay_names(size))
    records = [each.to_record(rng) for each in _with_one_clock(rng, drafts)]
    for place in range(len(records)):
        if rng.random() < 0.015:
            records[place] = spoil(records[place], rng)
    asked = rng.choice((None, None, None, size, size + 1, 1, 0))
    return History(records=tuple(records), essays_total=asked)


def histories() -> st.SearchStrategy[History]:
    """Histories as Hypothesis draws and shrinks them."""
    return st.randoms(use_true_random=False).map(make_history)


def shrunk(history: History, fails: Callable[[History], bool]) -> History:
    """Leave out records, one at a time, while the history still fails."""
    records = list(history.records)
    place = 0
    while place < len(records):
        fewer = records[:place] + records[place + 1 :]
        if fails(replace(history, records=tuple(fewer))):
            records, place = fewer, 0
        else:
            place += 1
    smaller = replace(history, records=tuple(records))
    without_question = replace(smaller, essays_total=None)
    return without_question if fails(without_question) else smaller


_BEGINNINGS = ("named",) * 3 + (
    "counted",
    "undated",
    "unregistered",
    "unreported",
    "reported",
    "part",
)


def _begin(rng: Random, size: int) -> Drafts:
    drafts = all_done(size)
    names = essay_names(size)
    match rng.choice(_BEGINNINGS):
        case "counted":
            drafts[0] = registered(size, [], 0)
        case "undated":
            drafts[0] = registered(size, names, 0, run=None)
        case "unregistered":
            del drafts[0]
        case "unreported":
            drafts = [each for each in drafts if not _is_report(each)]
        case "reported":
            drafts = [each for each in drafts if each.topic not in (SPELLCHECK_TOPIC, CJ_TOPIC)]
        case "part":
            drafts = drafts[: rng.randint(1, len(drafts))]
    return drafts


def _is_report(draft: Draft) -> bool:
    """Whether an outcome repeats what its step's own events say."""
    return draft.data.get("phase_name") in (SPELLCHECK, CJ)


def _with_one_clock(rng: Random, drafts: Drafts) -> Drafts:
    """Read live, or all of it later: a backlog, or a replay."""
    if rng.random() < 0.7:
        return drafts
    now = at(rng.choice((8, 150)))
    return [replace(each, consumed_ms=now) for each in drafts]

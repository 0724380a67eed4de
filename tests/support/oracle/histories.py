"""Histories of one batch, made to reach what is complete, and to disturb it.

What is purely random is never complete, so a history starts from one in which all went well, and
a few things are added, left out, repeated or spoiled. Few essays and few times: things meet.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from hypothesis import strategies as st

from tests.support.oracle.sending import (
    BATCH,
    MINUTE,
    RIGHT_STYLES,
    WRONG_STYLES,
    Draft,
    all_done,
    assessed,
    at,
    essay_names,
    phase_ended,
    registered,
    spellchecked,
)
from tests.support.oracle.spoiling import spoil
from tests.support.oracle.wire import CJ, CJ_TOPIC, REGISTERED_TOPIC, SPELLCHECK, Record

STEPS = (SPELLCHECK, CJ, "nlp", "ai_feedback")
GRAPH = {
    SPELLCHECK: (),
    CJ: (SPELLCHECK,),
    "nlp": (SPELLCHECK,),
    "ai_feedback": (SPELLCHECK, "nlp"),
}

_YEAR = 365 * 1440 * MINUTE
_OFF = (MINUTE // 2, MINUTE, MINUTE + 1, 15 * MINUTE, 120 * MINUTE, _YEAR)
_MOMENTS = (0, 1, 1.5, 2, 2.5, 3, 3, 3.05, 3.1, 3.5, 4, 4, 5, 6, 7)

OWN_STATUSES = ("completed", "completed", "failed", "failed", "in_progress", "pending", "strange")
PHASE_STATUSES = (
    None,
    None,
    "completed_successfully",
    "completed_with_failures",
    "failed_critically",
    "failed_critically",
    "in_progress",
    "strange",
)

Drafts = list[Draft]


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
        drafts = rng.choice(_DISTURBANCES)(rng, drafts, essay_names(size))
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


def _begin(rng: Random, size: int) -> Drafts:
    drafts = all_done(size)
    names = essay_names(size)
    match rng.choice(("named", "named", "counted", "copied", "unregistered", "unreported", "part")):
        case "counted":
            drafts[0] = registered(size, [], 0)
        case "copied":
            drafts[0] = registered(size, names, 0, run=None)
        case "unregistered":
            del drafts[0]
        case "unreported":
            drafts = [each for each in drafts if not _is_report(each)]
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


def _some(rng: Random, essays: list[str]) -> list[str]:
    return [each for each in essays if rng.random() < 0.6]


def _any_essay(rng: Random, essays: list[str]) -> str:
    return rng.choice([*essays, *essays, "stranger"])


def _when(rng: Random) -> float:
    return rng.choice(_MOMENTS)


def _say(rng: Random, drafts: Drafts, essays: list[str]) -> Drafts:
    status, text = rng.choice(OWN_STATUSES), rng.choice("ab")
    return [*drafts, spellchecked(_any_essay(rng, essays), _when(rng), status, text)]


def _end_phase(rng: Random, drafts: Drafts, essays: list[str]) -> Drafts:
    failed = _some(rng, essays) if rng.random() < 0.4 else []
    processed = [each for each in _some(rng, essays) if each not in failed or rng.random() < 0.1]
    phase, run = rng.choice((*STEPS, "other")), rng.choice(("run", "rerun", None))
    status = rng.choice(PHASE_STATUSES)
    return [*drafts, phase_ended(phase, processed, _when(rng), failed, status, run)]


def _refute(rng: Random, drafts: Drafts, _: list[str]) -> Drafts:
    status = rng.choice(("failed_critically", "completed_with_failures", "strange"))
    return [*drafts, phase_ended(rng.choice(STEPS), [], _when(rng), [], status)]


def _assess(rng: Random, drafts: Drafts, essays: list[str]) -> Drafts:
    failed = _some(rng, essays) if rng.random() < 0.2 else []
    covered = [each for each in rng.choice((essays, _some(rng, essays))) if each not in failed]
    more = ["stranger"] if rng.random() < 0.1 else []
    status = rng.choice(("completed_successfully",) * 5 + ("failed", "completed_with_failures"))
    draft = assessed([*covered, *more], _when(rng), failed, status)
    if rng.random() < 0.1:
        draft.data["processing_summary"][rng.choice(("total_essays", "successful"))] += 1
    return [*drafts, draft]


def _register(rng: Random, drafts: Drafts, essays: list[str]) -> Drafts:
    names = rng.choice((essays, [], _some(rng, essays), [*essays, "stranger"], essays[:1] * 2))
    count = rng.choice((len(names), len(essays), len(essays) + 1, 0))
    return [*drafts, registered(count, names, _when(rng), rng.choice(("reg", "again", None)))]


def _rerun(rng: Random, drafts: Drafts, essays: list[str]) -> Drafts:
    """Do a step again after everything else, for all or for some."""
    moment = rng.choice((3.5, 4, 4.5, 5))
    again = rng.choice((essays, _some(rng, essays)))
    step = rng.choice(STEPS)
    own = {
        SPELLCHECK: [spellchecked(each, moment, text="again") for each in again],
        CJ: [assessed(again, moment)],
    }.get(step, [])
    reported = [phase_ended(step, again, moment + rng.choice((0, 0.25)), run=f"again-{moment}")]
    return drafts + own + rng.choice((reported, reported, reported if not own else []))


def _send_again(rng: Random, drafts: Drafts, _: list[str]) -> Drafts:
    if not drafts:
        return drafts
    return [*drafts, rng.choice(drafts).again(at(_when(rng)))]


def _leave_out(rng: Random, drafts: Drafts, _: list[str]) -> Drafts:
    return _changed(rng, drafts, lambda _: None)


def _move_clock(rng: Random, drafts: Drafts, _: list[str]) -> Drafts:
    off = rng.choice(_OFF) * rng.choice((1, -1))
    which = rng.choice(("sender", "sender", "sender", "record", "ours", "both", "all"))
    shifts = {"both": ("sender", "record"), "all": ("sender", "record", "ours")}.get(
        which, (which,)
    )
    return _changed(rng, drafts, lambda it: it.shifted(**dict.fromkeys(shifts, off)))


def _write_otherwise(rng: Random, drafts: Drafts, _: list[str]) -> Drafts:
    style = rng.choice((*RIGHT_STYLES, *RIGHT_STYLES, *WRONG_STYLES))
    return _changed(rng, drafts, lambda it: replace(it, style=style))


def _lose_record_time(rng: Random, drafts: Drafts, _: list[str]) -> Drafts:
    return _changed(rng, drafts, lambda it: replace(it, record_ms=rng.choice((0, -1))))


def _changed(rng: Random, drafts: Drafts, change: Callable[[Draft], Draft | None]) -> Drafts:
    if not drafts:
        return drafts
    place = rng.randrange(len(drafts))
    changed = change(drafts[place])
    return [*drafts[:place], *([changed] if changed else []), *drafts[place + 1 :]]


def _misread(rng: Random, drafts: Drafts, essays: list[str]) -> Drafts:
    """Add something and make it unreadable: a later version, or too long."""
    added = rng.choice((_say, _end_phase, _assess, _register))(rng, drafts, essays)
    last = added[-1]
    if rng.random() < 0.5:
        return [*added[:-1], replace(last, envelope={"schema_version": 2})]
    named = {CJ_TOPIC: "status", REGISTERED_TOPIC: "entity_id"}.get(last.topic, "correlation_id")
    named = "status" if "error_code" in last.data else named
    return [*added[:-1], replace(last, data=last.data | {named: "x" * 1025})]


_DISTURBANCES = (
    _say,
    _say,
    _end_phase,
    _end_phase,
    _refute,
    _assess,
    _register,
    _rerun,
    _rerun,
    _rerun,
    _send_again,
    _send_again,
    _leave_out,
    _move_clock,
    _move_clock,
    _write_otherwise,
    _lose_record_time,
    _misread,
    _misread,
)

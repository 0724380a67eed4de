"""What happens to a batch beside what should: things are said, repeated, left out, or garbled."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from tests.support.oracle.sending import (
    MINUTE,
    RIGHT_STYLES,
    WRONG_STYLES,
    Draft,
    assessed,
    at,
    phase_ended,
    registered,
    spellchecked,
)
from tests.support.oracle.wire import CJ, CJ_TOPIC, REGISTERED_TOPIC, SPELLCHECK

STEPS = (SPELLCHECK, CJ, "nlp", "ai_feedback")
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


def _fail_and_mend(rng: Random, drafts: Drafts, essays: list[str]) -> Drafts:
    """Fail, by a clock that may be off, be mended, and perhaps fail in the same words again."""
    step, moment = rng.choice(STEPS), rng.choice((3, 3.5, 4))
    named = rng.choice((essays[:1], []))
    failure = phase_ended(step, [], moment, named, rng.choice((None, "failed_critically")))
    if step == SPELLCHECK and rng.random() < 0.5:
        failure = spellchecked(essays[0], moment, rng.choice(("failed", "in_progress")))
    again = failure.again(at(moment + 1))
    failure = failure.shifted(sender=rng.choice((0, 0, *_OFF)) * rng.choice((1, -1)))
    mended = _done_again(step, essays, moment + rng.choice((0.05, 0.5)))
    return [*drafts, failure, *mended, *rng.choice(([], [again]))]


def _done_again(step: str, essays: list[str], moment: float) -> Drafts:
    if step == SPELLCHECK:
        return [spellchecked(each, moment, text="mended") for each in essays]
    if step == CJ:
        return [assessed(essays, moment)]
    return [phase_ended(step, essays, moment, run="mended")]


def _register_twice(rng: Random, drafts: Drafts, essays: list[str]) -> Drafts:
    """Register other numbers one after the other, by clocks of which one may be off."""
    numbers = [len(essays), len(essays) + 1]
    rng.shuffle(numbers)
    names = rng.choice((essays, []))
    pair = [
        registered(number, names, 0.1 + place / 5, f"number-{number}")
        for place, number in enumerate(numbers)
    ]
    place, off = rng.choice((0, 1)), rng.choice((0, *_OFF)) * rng.choice((1, -1))
    pair[place] = pair[place].shifted(**{rng.choice(("sender", "sender", "record")): off})
    copies = [rng.choice(pair).again(at(0.6))] if rng.random() < 0.4 else []
    return [*drafts, *pair, *copies]


def _misread_registration(rng: Random, drafts: Drafts, essays: list[str]) -> Drafts:
    """Register in a version that is not read, and perhaps in one that is, or in the first words."""
    newer = registered(len(essays), essays, 4, "newer")
    first = [each for each in drafts if each.topic == REGISTERED_TOPIC][:1]
    unread = replace(newer, envelope={"schema_version": 2})
    again = rng.choice(([], [newer.again(at(5))], [each.again(at(5)) for each in first]))
    return [*drafts, unread, *again]


def _send_again_too_late(rng: Random, drafts: Drafts, essays: list[str]) -> Drafts:
    """Say something against an outcome, and then send the outcome again."""
    outcomes = [each for each in drafts if "phase_name" in each.data]
    if not outcomes:
        return drafts
    outcome = rng.choice(outcomes)
    phase = str(outcome.data["phase_name"])
    against = rng.choice(
        (phase_ended(phase, [], 4, status="failed_critically"), *_done_again(SPELLCHECK, essays, 4))
    )
    return [*drafts, against, outcome.again(at(5))]


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


DISTURBANCES = (
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
    _fail_and_mend,
    _fail_and_mend,
    _register_twice,
    _misread_registration,
    _send_again_too_late,
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

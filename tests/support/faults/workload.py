"""Random histories of batches, as neighbours send them: with failures, retries and copies."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tests.support.builders import (
    RecordedEvent,
    assessed,
    essay_names,
    minutes,
    phase_outcome,
    registered,
    spellchecked,
)

COPY_SHARE = 0.15  # of events that a relay sends twice, under another id and time
DONE_AGAIN_SHARE = 0.4  # of batches
LATE_MINUTES = 600  # how far behind a copy's time may lie


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One batch: what is sent before anything breaks, and what is sent while it does."""

    batch: str
    early: Sequence[RecordedEvent]
    late: Sequence[RecordedEvent]


def random_histories(random: Random, batches: int, essays: int) -> list[History]:
    """Return histories of so many batches of at most so many essays."""
    prefix = uuid.uuid4().hex[:8]
    return [
        _history(random, f"batch-{prefix}-{number}", essay_names(random.randint(2, essays)))
        for number in range(batches)
    ]


def interleaved(
    random: Random, histories: Sequence[Sequence[RecordedEvent]]
) -> list[RecordedEvent]:
    """Return all events in one order, any order: senders and topics know nothing of each other."""
    events = [event for history in histories for event in history]
    random.shuffle(events)
    return events


def _history(random: Random, batch: str, essays: Sequence[str]) -> History:
    events = [event for essay in essays for event in _spellchecks(random, batch, essay)]
    events += _reports(random, batch, essays)
    events += _done_again(random, batch, essays)
    events += [_copy(random, event) for event in events if random.random() < COPY_SHARE]
    random.shuffle(events)
    split = random.randrange(len(events) + 1)
    return History(
        batch=batch,
        early=[registered(batch, len(essays)), *events[:split]],
        late=events[split:],
    )


def _spellchecks(random: Random, batch: str, essay: str) -> list[RecordedEvent]:
    """One essay completes; or fails, and is tried again, or not; or completes and then fails."""
    times = [minutes(60 + 100 * turn + random.random() * 90) for turn in range(3)]
    course = random.choices(
        [["completed"], ["failed"], ["failed", "completed"], ["completed", "failed", "completed"]],
        weights=[10, 1, 3, 2],
    )[0]
    return [
        spellchecked(batch, essay, status, at) for status, at in zip(course, times, strict=False)
    ]


def _reports(random: Random, batch: str, essays: Sequence[str]) -> list[RecordedEvent]:
    reports = []
    if random.random() < 0.6:
        failed = random.sample(essays, random.choice([0, 0, 0, 1]))
        done = [essay for essay in essays if essay not in failed]
        reports.append(assessed(batch, done, failed, minutes(400)))
    if random.random() < 0.6:
        reports.append(phase_outcome(batch, essays, at=minutes(450), phase="nlp"))
    if random.random() < 0.3:
        reports.append(
            phase_outcome(
                batch, (), at=minutes(random.choice([10, 500])), status="failed_critically"
            )
        )
    return reports


def _done_again(random: Random, batch: str, essays: Sequence[str]) -> list[RecordedEvent]:
    """After all else: a text changes, or its state is one that nobody knows; a phase fails again.

    What was made from the older text is of no use then, unless it is made again as well.
    """
    changed = random.choice(essays)
    courses = [
        [spellchecked(batch, changed, at=minutes(600))],
        [
            spellchecked(batch, changed, at=minutes(600)),
            phase_outcome(batch, [changed], at=minutes(650), phase="nlp"),
            assessed(batch, essays, at=minutes(650)),
        ],
        [spellchecked(batch, changed, "strange", minutes(600))],
        [
            phase_outcome(batch, (), at=at, phase="nlp", status="failed_critically")
            for at in (minutes(440), minutes(600))  # a success comes in between
        ],
    ]
    return random.choice(courses) if random.random() < DONE_AGAIN_SHARE else []


def _copy(random: Random, event: RecordedEvent) -> RecordedEvent:
    """Return the event as a relay sends it again."""
    envelope = json.loads(event.value)
    envelope["event_id"] = str(uuid.UUID(int=random.getrandbits(128), version=4))
    envelope["event_timestamp"] = minutes(900 + random.random() * LATE_MINUTES).isoformat()
    return event._replace(value=json.dumps(envelope).encode())

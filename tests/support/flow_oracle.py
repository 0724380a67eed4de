"""The judge of the flow: it knows what was sent and what BOS shows, and no code of ours.

Each phase is commanded at least once and always with the same bytes; each run that ends is reported
once, by its id; nothing is commanded before the outcomes of what it is made from; the texts are
right. Whatever was broken meanwhile, that must hold.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.flow import COMMANDS, COMPLETED, OUTCOMES, Journal

DEPENDS_ON = {
    "spellcheck": frozenset[str](),
    "nlp": frozenset({"spellcheck"}),
    "cj_assessment": frozenset({"spellcheck"}),
    "ai_feedback": frozenset({"spellcheck", "nlp"}),
}
ENDING = frozenset({"completed_successfully", "completed_with_failures", "failed_critically"})
REPORTED = {
    "completed_successfully": "completed_successfully",
    "nothing_to_do": "completed_successfully",
    "completed_with_failures": "completed_with_failures",
    "failed_critically": "failed_critically",
    "cancelled": "failed_critically",
}
COMMANDED = frozenset(
    {
        "dispatch_initiated",
        "in_progress",
        "completed_successfully",
        "completed_with_partial_success",
    }
)


@dataclass
class _Run:
    """What was seen of a run: its commands by phase, and what each phase gave."""

    command_ids: dict[str, str] = field(default_factory=dict)
    essays: dict[str, set[str]] = field(default_factory=dict)  # commanded, by phase
    good: dict[str, set[str]] = field(default_factory=dict)  # came through, by phase
    completion_ids: set[str] = field(default_factory=set)
    reported_as: str | None = None
    awaited: str | None = None


class _Batch:
    """What was seen of a batch."""

    def __init__(self) -> None:
        self.runs: dict[str, _Run] = {}
        self.corrected: dict[str, str] = {}  # essay -> its newest text

    def run(self, correlation_id: str) -> _Run:
        return self.runs.setdefault(correlation_id, _Run())


def judge(journal: Journal, states: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return every fault of the journal, and of what BOS shows of the batches in the end."""
    batches: dict[str, _Batch] = {batch: _Batch() for batch in states}
    faults = list(_contradictions(journal))
    for topic, envelope, _ in journal.records:
        batch = envelope["data"].get("batch_id") or envelope["data"].get("entity_id")
        if batch in batches:
            faults += _take(batches[batch], topic, envelope)
    for name, state in states.items():
        faults += [f"{name}: {fault}" for fault in _compare(batches[name], state)]
    return faults


def _contradictions(journal: Journal) -> Iterator[str]:
    seen: dict[str, bytes] = {}
    for topic, envelope, raw in journal.records:
        if seen.setdefault(envelope["event_id"], raw) != raw:
            yield f"{topic}: other bytes under the id {envelope['event_id']}"


def _take(batch: _Batch, topic: str, envelope: Mapping[str, Any]) -> Iterator[str]:
    run = batch.run(envelope["correlation_id"])
    if topic in COMMANDS:
        yield from _take_command(batch, run, COMMANDS[topic], envelope)
    elif topic == COMPLETED:
        if run.completion_ids - {envelope["event_id"]}:
            yield "the end of a run is reported under two ids"
        run.completion_ids.add(envelope["event_id"])
        run.reported_as = envelope["data"]["final_status"]
        run.awaited = None
    elif topic == OUTCOMES:
        _take_outcome(batch, run, envelope["data"])


def _take_command(
    batch: _Batch, run: _Run, phase: str, envelope: Mapping[str, Any]
) -> Iterator[str]:
    known = run.command_ids.setdefault(phase, envelope["event_id"])
    if known != envelope["event_id"]:
        yield f"{phase} is commanded under two ids in one run"
    if phase in run.essays:
        return  # the same once more
    if run.completion_ids:
        yield f"{phase} is commanded after the end of its run"
    for other in batch.runs.values():
        if other.awaited is not None:
            yield f"{phase} is commanded while the outcome of {other.awaited} is awaited"
    texts = {one["essay_id"]: one["text_storage_id"] for one in _essays(envelope)}
    run.essays[phase], run.awaited = set(texts), phase
    for essay, text in texts.items():
        yield from _judge_text(batch, run, phase, essay, text)


def _judge_text(batch: _Batch, run: _Run, phase: str, essay: str, text: str) -> Iterator[str]:
    is_corrected = "spellcheck" in DEPENDS_ON[phase]
    right = batch.corrected.get(essay) if is_corrected else f"original-{essay}"
    if text != right:
        yield f"{phase} is given {text} of {essay}, not {right}"
    for before in DEPENDS_ON[phase] & run.essays.keys():
        if essay in run.essays[before] and essay not in run.good.get(before, set()):
            yield f"{phase} is given {essay}, which did not come through {before}"


def _take_outcome(batch: _Batch, run: _Run, data: Mapping[str, Any]) -> None:
    phase, status = data["phase_name"], data["phase_status"]
    is_awaited = run.awaited == phase
    # What was made before BOS had any of it made is known to BCS, and as good.
    is_earlier = not any(phase in other.essays for other in batch.runs.values())
    if status not in ENDING or not (is_awaited or is_earlier):
        return  # early, late, twice or foreign: it must change nothing
    done = {} if status == "failed_critically" else _processed(data)
    if is_awaited:
        done = {essay: text for essay, text in done.items() if essay in run.essays[phase]}
        run.good[phase] = set(done)
    if phase == "spellcheck":
        batch.corrected |= done
    if is_awaited:
        run.awaited = None


def _processed(data: Mapping[str, Any]) -> dict[str, str]:
    return {
        one["essay_id"]: one["text_storage_id"]
        for one in data["processed_essays"]
        if one["essay_id"] not in data["failed_essay_ids"]
    }


def _compare(batch: _Batch, state: Mapping[str, Any]) -> Iterator[str]:
    """Hold what BOS shows against what was seen."""
    shown = {run["correlation_id"]: run for run in state["runs"]}
    for correlation_id, seen in batch.runs.items():
        if (seen.command_ids or seen.completion_ids) and correlation_id not in shown:
            yield f"there are messages of the run {correlation_id}, and BOS shows no such run"
    for correlation_id, run in shown.items():
        yield from _compare_run(batch.run(correlation_id), run)
    ids = [one for run in state["runs"] for one in run["request_ids"]]
    if len(ids) != len(set(ids)):
        yield "a request leads to two runs"


def _compare_run(seen: _Run, run: Mapping[str, Any]) -> Iterator[str]:
    if seen.reported_as != REPORTED.get(run["state"]):
        yield f"a run is {run['state']}, and its end was reported as {seen.reported_as}"
    for phase in run["phases"]:
        name, status = phase["name"], phase["status"]
        if status in COMMANDED and name not in seen.command_ids:
            yield f"{name} is {status}, and was never commanded"
        if status == "skipped_by_user_config" and name in seen.command_ids:
            yield f"{name} was pruned, and commanded"
        if status.startswith("completed") and phase["completed"] != len(seen.good.get(name, ())):
            yield f"{name} has {phase['completed']} essays that came through, not as was said"
    if unplanned := seen.command_ids.keys() - {phase["name"] for phase in run["phases"]}:
        yield f"commanded without a plan: {sorted(unplanned)}"


def _essays(envelope: Mapping[str, Any]) -> list[dict[str, str]]:
    essays: list[dict[str, str]] = envelope["data"]["essays_to_process"]
    return essays

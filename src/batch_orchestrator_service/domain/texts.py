"""Which essays a phase is commanded for, and with which text of each. Pure.

The unforgivable fault would be to hand out a text that was not corrected where it should be: an
essay without the text that its phase needs is left out, and named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batch_orchestrator_service.domain.models import BatchState, Phase, Run

# The phases that make a new text of an essay; the others only say something about it.
TEXT_PRODUCING = ("spellcheck",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The essays of a command with their texts, and those that are left out."""

    texts: Mapping[str, str]
    left_out: tuple[str, ...]


def select(state: BatchState, run: Run, phase: Phase) -> Selection:
    """Return what the phase is to be commanded for, in the order of the essays' ids."""
    failed = _failed_before(run, phase)
    essays = sorted(state.batch.texts)
    # A phase that is to run and that nobody needs is a contradiction: it runs for all.
    wanted = [essay for essay in essays if _is_wanted(essay, run, phase)] or essays
    texts = {
        essay: text
        for essay in wanted
        if essay not in failed and (text := _text_of(state, phase, essay)) is not None
    }
    left_out = tuple(essay for essay in wanted if essay not in texts)
    return Selection(texts=texts, left_out=left_out)


def lacks_texts(state: BatchState, phases: Sequence[Phase]) -> bool:
    """Whether BOS lacks a text that a phase needs and that this run does not make."""
    running = {phase.name: phase for phase in phases if phase.status.is_to_come}
    return any(
        essay not in state.outputs.get(maker, {}) and not _is_made(running.get(maker), essay)
        for phase in running.values()
        for maker in _makers(phase)
        for essay in state.batch.texts
    )


def _is_made(maker: Phase | None, essay: str) -> bool:
    """Whether the run is to make a text of the essay."""
    return maker is not None and (maker.pending is None or essay in maker.pending)


def _makers(phase: Phase) -> list[str]:
    return [name for name in TEXT_PRODUCING if name in phase.depends_on]


def _text_of(state: BatchState, phase: Phase, essay: str) -> str | None:
    """Return the newest text that the phase may work on; None where there is none."""
    makers = _makers(phase)
    made = [
        output
        for maker in makers
        if (output := state.outputs.get(maker, {}).get(essay)) is not None
    ]
    if made:
        return max(made, key=lambda output: output.made_at).text_id
    if makers:
        return None  # the original is no substitute for a text that was to be corrected
    return state.batch.texts.get(essay)


def _failed_before(run: Run, phase: Phase) -> set[str]:
    return {
        essay
        for name in phase.depends_on
        if (before := run.phase(name)) is not None
        for essay in (*before.failed, *before.left_out)
    }


def _is_wanted(essay: str, run: Run, phase: Phase) -> bool:
    """Whether the essay still needs the phase, or what it is made from was made again."""
    if phase.pending is None or essay in phase.pending:
        return True
    return any(
        essay in before.dispatched
        for name in phase.depends_on
        if (before := run.phase(name)) is not None
    )

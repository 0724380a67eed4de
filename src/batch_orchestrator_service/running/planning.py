"""From BCS's answer to the phases of a run, with what the pipeline file says of each. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from batch_orchestrator_service.domain.models import Phase, Run
from batch_orchestrator_service.domain.states import PhaseStatus
from common_core.define import DefineResponse
from common_core.define import Phase as PhaseAnswer
from common_core.verdicts import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the pipeline file says of a phase."""

    event_type: str
    depends_on: tuple[str, ...]


class Planner:
    """Knows the steps of all pipelines, and what each is made from, directly or not."""

    def __init__(
        self, steps: Mapping[str, Step], find_version: Callable[[str], str | None]
    ) -> None:
        self._steps = steps
        self._find_version = find_version
        self._prerequisites = {name: _prerequisites(steps, name) for name in steps}

    def plan(self, run: Run, answer: DefineResponse) -> list[Phase]:
        """Return the phases of the run, in their order, those that are skipped among them.

        Raises:
            KeyError: BCS has a step that BOS's file has not: the two have different files.
        """
        return [self._phase(run, said) for said in answer.phases]

    def knows(self, answer: DefineResponse) -> bool:
        """Whether the answer is about the pipeline that the file has.

        By a file that lacks a dependency a phase would be given texts that nobody has corrected.
        """
        version = self._find_version(answer.requested_pipeline)
        return answer.pipeline_version == version and all(
            said.name in self._steps for said in answer.phases
        )

    def _phase(self, run: Run, said: PhaseAnswer) -> Phase:
        step = self._steps[said.name]
        pending = said.pending_essay_ids
        return Phase(
            name=said.name,
            status=_status(run, said),
            event_type=step.event_type,
            depends_on=self._prerequisites[said.name],
            skip_reason=said.reason.value if said.verdict is Verdict.SKIP else None,
            pending=None if pending is None else frozenset(pending),
        )


def _prerequisites(steps: Mapping[str, Step], name: str) -> tuple[str, ...]:
    found: dict[str, None] = {}  # in the order in which they are met
    waiting = list(steps[name].depends_on)
    while waiting:
        one = waiting.pop(0)
        if one not in found and one in steps:
            found[one] = None
            waiting.extend(steps[one].depends_on)
    return tuple(found)


def _status(run: Run, said: PhaseAnswer) -> PhaseStatus:
    if said.verdict is Verdict.SKIP:
        return PhaseStatus.SKIPPED_BY_USER_CONFIG
    if said.name == run.pipeline:
        return PhaseStatus.REQUESTED_BY_USER
    return PhaseStatus.PENDING_DEPENDENCIES

"""What of a pipeline is still to run. Pure: no state, no I/O."""

from collections.abc import Sequence

from batch_conductor_service.domain.completeness import judge_step
from batch_conductor_service.domain.pipelines import Pipeline, PipelineStep
from batch_conductor_service.domain.resolution import PhaseDecision
from batch_conductor_service.exceptions import PrerequisiteMissingError
from batch_conductor_service.models import BatchCompletionSummary, StepName
from common_core.verdicts import Reason, Verdict


class DefaultPipelineRules:
    """A step is skipped only if it and all that it rests on need not run."""

    def resolve_pipeline_dependencies(self, pipeline: Pipeline) -> Sequence[PipelineStep]:
        return pipeline.ordered

    def prune_completed_steps(
        self,
        steps: Sequence[PipelineStep],
        summary: BatchCompletionSummary,
        essays_total: int | None = None,
    ) -> Sequence[PhaseDecision]:
        awaited = {dependency for step in steps for dependency in step.depends_on}
        skipped: set[StepName] = set()
        phases: list[PhaseDecision] = []
        for step in steps:
            progress = judge_step(summary, step.name, essays_total, step.depends_on)
            reason = progress.reason
            if progress.is_complete and not skipped.issuperset(step.depends_on):
                # Its result was made from a text that is about to change.
                reason = Reason.PREREQUISITE_RUNS
            elif reason is Reason.NOT_STARTED and step.name not in awaited:
                reason = Reason.REQUESTED
            verdict = Verdict.SKIP if reason is Reason.ALREADY_COMPLETED else Verdict.RUN
            if verdict is Verdict.SKIP:
                skipped.add(step.name)
            phases.append(
                PhaseDecision(step=step, verdict=verdict, reason=reason, progress=progress)
            )
        return phases

    def validate_pipeline_prerequisites(self, phases: Sequence[PhaseDecision]) -> None:
        settled: set[StepName] = set()
        for phase in phases:
            for prerequisite in phase.step.depends_on:
                if prerequisite not in settled:
                    raise PrerequisiteMissingError(phase.step.name, prerequisite)
            settled.add(phase.step.name)

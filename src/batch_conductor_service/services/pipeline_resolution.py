"""The one question: which phases of a batch are still to run, and in which order."""

from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.domain.resolution import Resolution, ResolutionRequest
from batch_conductor_service.exceptions import UnknownPipelineError
from batch_conductor_service.protocols import BatchStateRepositoryProtocol, PipelineRulesProtocol


class DefaultPipelineResolutionService:
    """Answers from the pipelines of the file and what is known of the batch; keeps nothing."""

    def __init__(
        self,
        catalog: PipelineCatalog,
        rules: PipelineRulesProtocol,
        repository: BatchStateRepositoryProtocol,
    ) -> None:
        self._catalog = catalog
        self._rules = rules
        self._repository = repository

    async def resolve(self, request: ResolutionRequest) -> Resolution:
        pipeline = self._catalog.find(request.requested_pipeline)
        if pipeline is None:
            raise UnknownPipelineError(request.requested_pipeline, self._catalog.names)
        reading = await self._repository.get_summary(request.batch_id)
        steps = self._rules.resolve_pipeline_dependencies(pipeline)
        phases = self._rules.prune_completed_steps(steps, reading.summary, request.essays_total)
        self._rules.validate_pipeline_prerequisites(phases)
        return Resolution(
            request=request,
            pipeline=pipeline,
            phases=phases,
            is_degraded=reading.is_degraded or not reading.summary.is_whole,
        )

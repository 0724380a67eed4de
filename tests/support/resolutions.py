"""Resolutions as the service gives them."""

from batch_conductor_service.domain.resolution import Resolution, ResolutionRequest
from batch_conductor_service.models import BatchCompletionSummary, BatchId
from batch_conductor_service.resolving.pipeline_resolution import DefaultPipelineRules
from tests.support.pipelines import pipeline
from tests.support.summaries import all_complete


def request_for(batch: str) -> ResolutionRequest:
    """Return a request for the pipeline `both`."""
    return ResolutionRequest(
        batch_id=BatchId(batch), requested_pipeline="both", correlation_id=f"correlation-{batch}"
    )


def resolution_of(batch: str, *complete: str) -> Resolution:
    """Return the resolution of spellcheck and nlp for a batch with these steps complete."""
    both = pipeline({"spellcheck": [], "nlp": ["spellcheck"]}, "both")
    known = BatchCompletionSummary(batch_id=BatchId(batch))
    summary = all_complete(batch, *complete) if complete else known
    return Resolution(
        request=request_for(batch),
        pipeline=both,
        phases=DefaultPipelineRules().prune_completed_steps(both.ordered, summary),
        is_degraded=False,
    )

"""Summaries of batches for tests, made the way repositories make them."""

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchId,
    BatchRegistration,
    EssayEvidence,
    PhaseOutcome,
)
from tests.support.builders import essay_names, evidence, registration, update
from tests.support.pipelines import DEPENDENCIES


def summary_of(
    batch: str, *items: EssayEvidence | PhaseOutcome | BatchRegistration
) -> BatchCompletionSummary:
    """Return the summary that follows from the items."""
    state = BatchState(BatchId(batch))
    state.merge(update(batch, *items))
    return state.summarise(DEPENDENCIES)


def all_complete(batch: str, *steps: str, essays: int = 2) -> BatchCompletionSummary:
    """Return the summary of a batch whose essays all went through the steps."""
    items = [evidence(essay, step=step) for step in steps for essay in essay_names(essays)]
    return summary_of(batch, registration(essays), *items)

"""The data of the consumed events, as far as it decides something."""

from pydantic import Field

from common_core.envelope import EventModel
from common_core.fields import Count, Identifier, Moment, OptionalText, Text


class SpellcheckPhaseCompletedV1(EventModel):
    """One essay went through spellcheck."""

    essay_id: Identifier = Field(alias="entity_id")
    batch_id: Identifier
    status: Text  # also one that this version does not know
    corrected_text_storage_id: OptionalText = None
    timestamp: Moment


class ProcessingSummary(EventModel):
    """Which essays an assessment compared, and which it could not."""

    total_essays: Count
    successful: Count
    failed: Count
    successful_essay_ids: tuple[Identifier, ...]
    failed_essay_ids: tuple[Identifier, ...]


class CJAssessmentCompletedV1(EventModel):
    """The comparative judgement of a batch ended."""

    batch_id: Identifier = Field(alias="entity_id")
    timestamp: Moment
    status: Text
    processing_summary: ProcessingSummary


class ProcessedEssay(EventModel):
    """An essay that went through a phase, and where its text is now."""

    essay_id: Identifier
    text_storage_id: OptionalText = None


class ELSBatchPhaseOutcomeV1(EventModel):
    """A phase ended for a batch. The only time it has is its envelope's."""

    batch_id: Identifier
    phase_name: Identifier
    phase_status: Text
    processed_essays: tuple[ProcessedEssay, ...]
    failed_essay_ids: tuple[Identifier, ...]
    correlation_id: OptionalText = None


class RegistrationMetadata(EventModel):
    """When a batch was registered, where the sender says so."""

    timestamp: Moment | None = None
    correlation_id: OptionalText = None


class BatchEssaysRegistered(EventModel):
    """How many essays a batch has."""

    batch_id: Identifier = Field(alias="entity_id")
    expected_essay_count: Count
    essay_ids: tuple[Identifier, ...]
    metadata: RegistrationMetadata | None = None


EventData = (
    SpellcheckPhaseCompletedV1
    | CJAssessmentCompletedV1
    | ELSBatchPhaseOutcomeV1
    | BatchEssaysRegistered
)

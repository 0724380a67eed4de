"""The data of what passes between gateway, BOS and ELS, as far as it decides something.

Read tolerantly: fields of newer senders are ignored, and a field that decides nothing is not
declared, for a fault there must not cost the event.
"""

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from common_core.envelope import EventModel
from common_core.fields import Count, Identifier, OptionalText, Text

MAX_REFERENCE_LENGTH = 100  # characters, of pipelines and assignments
MAX_REASON_LENGTH = 500  # characters

Reference = Annotated[Text, Field(max_length=MAX_REFERENCE_LENGTH)]
UserId = Annotated[Text, Field(max_length=255)]
StorageId = Text


class PromptPayload(EventModel):
    """What a run was given beside its pipeline: exactly one of the two."""

    assignment_id: Reference | None = None
    cms_prompt_ref: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _has_exactly_one(self) -> Self:
        if (self.assignment_id is None) == (self.cms_prompt_ref is None):
            raise ValueError("must have exactly one of assignment_id and cms_prompt_ref")
        return self


class ClientBatchPipelineRequestV1(EventModel):
    """A client asks for a pipeline over a batch; `user_id` is from the client's token."""

    model_config = ConfigDict(hide_input_in_errors=True)  # an error may be logged

    batch_id: Identifier
    requested_pipeline: Reference
    client_correlation_id: UUID
    user_id: UserId
    is_retry: bool = False
    retry_reason: Annotated[str, Field(max_length=MAX_REASON_LENGTH)] | None = None
    prompt_payload: PromptPayload | None = None
    request_id: UUID | None = None


class BatchRegistered(EventModel):
    """A batch with its owner, course and prompt: `BatchEssaysRegistered`, as BOS reads it."""

    batch_id: Identifier = Field(alias="entity_id")
    expected_essay_count: Count
    essay_ids: tuple[Identifier, ...] = ()
    course_code: Text
    user_id: UserId
    class_id: OptionalText = None
    student_prompt_ref: dict[str, Any] | None = None


class EssayText(EventModel):
    """An essay, and where its text is."""

    essay_id: Identifier
    text_storage_id: StorageId


class BatchEssaysReady(EventModel):
    """The essays of a class's batch are all there."""

    batch_id: Identifier
    ready_essays: tuple[EssayText, ...]
    student_prompt_ref: dict[str, Any] | None = None


class BatchContentProvisioningCompletedV1(EventModel):
    """The essays of a guest's batch are there, or as many of them as will ever be."""

    batch_id: Identifier
    provisioned_count: Count
    expected_count: Count
    essays_for_processing: tuple[EssayText, ...]

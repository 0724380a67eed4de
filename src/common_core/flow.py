"""The data of what passes between gateway, BOS and ELS, as far as it decides something.

Read tolerantly: fields of newer senders are ignored, and a field that decides nothing is not
declared, for a fault there must not cost the event.
"""

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from common_core.envelope import EventModel
from common_core.fields import Count, Identifier, OptionalText, Text

MAX_REFERENCE_LENGTH = 100  # characters, of pipelines and assignments
MAX_REASON_LENGTH = 500  # characters
MAX_REFERENCE_DEPTH = 100  # JSON is read ten times as deep, and written only twice as deep


def _check_depth(reference: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [reference]
    for _ in range(MAX_REFERENCE_DEPTH):
        level = [part for one in level for part in _parts(one)]
    if level:
        raise PydanticCustomError("depth", "nested too deep")
    return reference


def _parts(value: dict[str, Any] | list[Any]) -> list[Any]:
    """Return the objects and lists in a value."""
    inside = value.values() if isinstance(value, dict) else value
    return [part for part in inside if isinstance(part, dict | list)]


Reference = Annotated[Text, Field(max_length=MAX_REFERENCE_LENGTH)]
UserId = Annotated[Text, Field(max_length=255)]
StorageId = Text
PromptRef = Annotated[dict[str, Any], AfterValidator(_check_depth)]


class PromptPayload(EventModel):
    """What a run was given beside its pipeline: exactly one of the two."""

    assignment_id: Reference | None = None
    cms_prompt_ref: PromptRef | None = None

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
    student_prompt_ref: PromptRef | None = None


class EssayText(EventModel):
    """An essay, and where its text is."""

    essay_id: Identifier
    text_storage_id: StorageId


class BatchEssaysReady(EventModel):
    """The essays of a class's batch are all there."""

    batch_id: Identifier
    ready_essays: tuple[EssayText, ...]
    student_prompt_ref: PromptRef | None = None


class BatchContentProvisioningCompletedV1(EventModel):
    """The essays of a guest's batch are there, or as many of them as will ever be."""

    batch_id: Identifier
    provisioned_count: Count
    expected_count: Count
    essays_for_processing: tuple[EssayText, ...]

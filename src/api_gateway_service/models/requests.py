"""What callers send: checked strictly, for what is let through here becomes a record on Kafka."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from common_core.fields import ID_PATTERN, MAX_ID_LENGTH
from common_core.flow import MAX_REASON_LENGTH, MAX_REFERENCE_LENGTH

MAX_DEPTH = 16  # of a reference: nobody has a reason to nest more, and readers recurse

BatchIdText = Annotated[str, Field(pattern=ID_PATTERN, max_length=MAX_ID_LENGTH)]


def _check_text(value: str) -> str:
    if "\0" in value:
        raise PydanticCustomError("text", "must not hold a NUL")
    return value


def _check_reference(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse what Postgres cannot store, or a reader could not follow."""
    for depth, part in _walk(value, 1):
        if depth > MAX_DEPTH:
            raise PydanticCustomError("depth", "is nested too deep")
        if isinstance(part, str):
            _check_text(part)
    return value


def _walk(value: object, depth: int) -> Iterator[tuple[int, object]]:
    """Yield every part, and every name, with its depth; nothing below what is too deep."""
    yield depth, value
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        for name, part in value.items():
            yield depth, name
            yield from _walk(part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            yield from _walk(part, depth + 1)


Text = Annotated[str, AfterValidator(_check_text)]
CmsReference = Annotated[dict[str, Any], AfterValidator(_check_reference)]


class PromptPayload(BaseModel):
    """What the run is given beside its pipeline: exactly one of the two."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "oneOf": [{"required": ["assignment_id"]}, {"required": ["cms_prompt_ref"]}]
        },
    )

    assignment_id: Annotated[Text, Field(min_length=1, max_length=MAX_REFERENCE_LENGTH)] | None = (
        Field(None, description="An assignment whose prompt is used.")
    )
    cms_prompt_ref: CmsReference | None = Field(
        None, description="A reference to a prompt in the content management system."
    )

    @model_validator(mode="after")
    def _has_exactly_one(self) -> "PromptPayload":
        if (self.assignment_id is None) == (self.cms_prompt_ref is None):
            raise PydanticCustomError(
                "exactly_one", "must have exactly one of assignment_id and cms_prompt_ref"
            )
        return self


class PipelineRequest(BaseModel):
    """Which pipeline is to run. Fields that are not known are ignored."""

    model_config = ConfigDict(strict=True)

    requested_pipeline: Annotated[Text, Field(min_length=1, max_length=MAX_REFERENCE_LENGTH)] = (
        Field(description="The name of a pipeline, or of a single phase.")
    )
    is_retry: bool = Field(
        default=False,
        description="Whether what failed before is to be tried again, as a run of its own.",
    )
    retry_reason: Annotated[Text, Field(max_length=MAX_REASON_LENGTH)] | None = Field(
        None, description="Why, for the record."
    )
    prompt_payload: PromptPayload | None = None
    batch_id: str | None = Field(None, description="The batch of the path, if it is given here.")

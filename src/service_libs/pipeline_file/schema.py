"""The form of the pipeline file, and what of a document does not have it."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from common_core.fields import is_identifier
from service_libs.pipeline_file.documents import Document, Fault, Path

MAX_NAME_LENGTH = 100  # characters; what `requested_pipeline` may have


def _check_name(name: str) -> str:
    if len(name) <= MAX_NAME_LENGTH and is_identifier(name):
        return name
    raise PydanticCustomError(
        "name", f"a name has 1 to {MAX_NAME_LENGTH} letters, digits or . _ ~ @ + = -"
    )


Name = Annotated[str, AfterValidator(_check_name)]
NonEmpty = Annotated[str, Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StepModel(_Model):
    """One step of a pipeline."""

    name: Name
    service_name: NonEmpty
    event_type: NonEmpty
    event_data_model: NonEmpty
    depends_on: list[Name] = []


class PipelineModel(_Model):
    """One pipeline."""

    description: str = ""
    steps: Annotated[list[StepModel], Field(min_length=1)]


class FileModel(_Model):
    """All of the file."""

    pipelines: Annotated[dict[Name, PipelineModel], Field(min_length=1)]

    @property
    def steps(self) -> dict[str, StepModel]:
        """Every step by its name; it is the same in every pipeline that has it."""
        return {step.name: step for one in self.pipelines.values() for step in one.steps}

    @property
    def names(self) -> list[str]:
        """Every name that may be asked for: pipelines first, then the steps."""
        return list(dict.fromkeys([*self.pipelines, *self.steps]))


def read_file(document: Document) -> tuple[FileModel | None, list[Fault]]:
    """Return the file's content, or what is wrong with its form."""
    try:
        return FileModel.model_validate(document.value), []
    except ValidationError as exc:
        return None, [_fault(document, error) for error in exc.errors(include_url=False)]


def describe(document: Document, path: Path) -> str:
    """Return the path in the words of the file: pipeline, step, key."""
    words: list[str] = []
    place: Path = ()
    for part in path:
        place = (*place, part)
        match place:
            case ("pipelines", str(name)):
                words.append(f"pipeline {name!r}")
            case ("pipelines", _, "steps", int(index)):
                words.append(f"step {_step_name(document, place) or f'number {index + 1}'}")
            case ("pipelines",) | ("pipelines", _, "steps") if place != path:
                continue
            case _:
                words.append(f"item {part + 1}" if isinstance(part, int) else part)
    return ", ".join(words)


def _step_name(document: Document, path: Path) -> str | None:
    value: Any = document.value
    for part in path:
        value = value[part]
    name = value.get("name") if isinstance(value, dict) else None
    return f"{name!r}" if name else None


def _fault(document: Document, error: ErrorDetails) -> Fault:
    path = tuple(part for part in error["loc"] if part != "[key]")
    match error["type"]:
        case "extra_forbidden":
            path, key = path[:-1], path[-1]
            line, text = document.line_of((*path, key)), f"unknown key {key!r}"
        case "missing":
            line, text = document.line_of(path), f"missing key {path[-1]!r}"
            path = path[:-1]
        case "too_short":
            line = document.line_of(path)
            text = "the pipeline has no steps" if path[1:] else "the file has no pipelines"
            path = path[:-1]
        case _:
            line, text = document.line_of(path), _in_words(error)
    return Fault(line, ": ".join(filter(None, [describe(document, path), text])))


def _in_words(error: ErrorDetails) -> str:
    expected = {
        "string_type": "expected a text",
        "list_type": "expected a list",
        "dict_type": "expected a mapping",
        "model_type": "expected a mapping",
        "string_too_short": "expected a text that is not empty",
    }
    return expected.get(error["type"], error["msg"])

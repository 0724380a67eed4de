"""What became of a question to BCS: every case by a type, none by an exception."""

from dataclasses import dataclass

from common_core.define import BatchResponse, DefineResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Some phases are to run; `answer` says which, and why."""

    answer: DefineResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingToDo:
    """Every phase of the pipeline is proven complete."""

    answer: DefineResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownPipeline:
    """BCS has no pipeline and no step of that name; `detail` lists those that it has."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The question was refused, and would be again: `code` is BCS's, stable."""

    status: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """There is no answer now. To be asked again after so many seconds.

    Attributes:
        reason: `unreachable`, `timeout`, `overloaded` (a 503), `fault` (another 5xx), `garbled` (an
            answer that is none), or `not_asked` (it failed too often lately).
        retry_after_seconds: not before that is it worth asking.
    """

    reason: str
    retry_after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchKnown:
    """What is known of the batch; its `outputs` are step -> essay -> text id."""

    batch: BatchResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchUnknown:
    """BCS has heard nothing of the batch."""


ResolutionOutcome = Resolved | NothingToDo | UnknownPipeline | Refused | Unavailable
BatchOutcome = BatchKnown | BatchUnknown | Refused | Unavailable

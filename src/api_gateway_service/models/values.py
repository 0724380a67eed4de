"""What the parts of the gateway hand to each other. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from common_core.flow import ClientBatchPipelineRequestV1


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks.

    Attributes:
        user_id: the `sub` of the token.
        scopes: what the token allows.
        expires_at: until when the token is taken, in seconds since 1970; None if always.
    """

    user_id: str
    scopes: frozenset[str]
    expires_at: float | None = None

    def may(self, scope: str) -> bool:
        """Whether the token allows it. All that decides about rights stands here."""
        return scope in self.scopes


@dataclass(frozen=True, slots=True)
class StatusView:
    """A batch's status as bytes, and the tag that changes with them."""

    body: bytes
    tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBatch:
    """What is known of a batch.

    Attributes:
        user_id: whose it is.
        view: its status; None where BOS is newer than we are, and says what we do not know.
    """

    user_id: str
    view: StatusView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineCommand:
    """A request for a pipeline, ready to be sent to BOS."""

    data: ClientBatchPipelineRequestV1
    correlation_id: UUID
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """So many requests in so many seconds, whenever these begin."""

    name: str
    amount: int
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowState:
    """How much of a window is left, and when the next of what was taken comes free."""

    window: Window
    remaining: int
    reset_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a caller stands with all windows that hold for a route.

    Attributes:
        states: one for each window.
        refused_by: the window that was full, if one was.
    """

    states: Sequence[WindowState]
    refused_by: WindowState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """What is kept of a request under its id.

    Attributes:
        fingerprint: digest of batch and body.
        correlation_id: the one of the first try; the run has it.
        accepted_at: when it was first tried.
    """

    fingerprint: str
    correlation_id: UUID
    accepted_at: datetime


class ClaimOutcome(StrEnum):
    """What became of the wish to make a request."""

    BEGUN = "begun"  # make it
    MADE = "made"  # it was made before
    IN_FLIGHT = "in_flight"  # another makes it now
    REUSED = "reused"  # another request has the id


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What became of the wish, and the record of the first try."""

    outcome: ClaimOutcome
    record: RequestRecord

"""Every port of the service."""

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from api_gateway_service.models.values import (
    Claim,
    KnownBatch,
    PipelineCommand,
    Principal,
    RequestRecord,
    Standing,
    Window,
)


class AuditLogProtocol(Protocol):
    """Where it is kept who asked for what, and what was decided."""

    def write(self, fields: Mapping[str, str | int | float | None]) -> None:
        """Keep one line; ids and names only, never a body or a token."""
        ...


class CommandPublisherProtocol(Protocol):
    """The way of commands to BOS."""

    async def publish(self, command: PipelineCommand) -> None:
        """Return when all in-sync replicas have the command.

        Raises:
            NotAcknowledgedError: they did not say so in time; it may arrive all the same.
        """
        ...


class BatchStatesProtocol(Protocol):
    """What BOS knows of batches."""

    async def find_batch(self, batch_id: str, *, deadline_seconds: float) -> KnownBatch | None:
        """Return the batch, or None where BOS does not know it.

        Raises:
            OrchestratorUnavailableError: BOS gave no answer that can be used by then.
        """
        ...


class TokenVerifierProtocol(Protocol):
    """Says who a token speaks for."""

    async def verify(self, token: str | None) -> Principal:
        """Return who it is, and until when; None is a request without a token.

        Raises:
            UnauthenticatedError: the token is not taken; its reason is of a closed set.
            KeysUnavailableError: no key was ever there to check it with.
        """
        ...


class RateLimiterProtocol(Protocol):
    """Counts, exactly, however many ask at once."""

    async def hit(self, windows: Sequence[Window], key: str) -> Standing:
        """Count one hit of the key, unless a window is full, and return how it stands then.

        Windows are tried in their order, the shortest first. Those after the full one do not count
        the hit. Those before it do: who goes on asking against a refusal has less of the short
        window, and has it back within its few seconds.
        """
        ...


class IdempotencyStoreProtocol(Protocol):
    """Which requests were made under which key.

    A request is made by one caller at a time. What was made under the key is kept for 24 hours; a
    request that is on its way keeps others out no longer than it may take.
    """

    async def claim(self, request_id: UUID, record: RequestRecord) -> Claim:
        """Begin the request unless it was made, is being made, or another has its id."""
        ...

    async def complete(self, request_id: UUID) -> None:
        """Say that the request was made."""
        ...

    async def release(self, request_id: UUID) -> None:
        """Say that whoever tries it again need not wait."""
        ...

"""Redis as a repository needs it: readings, and optimistic transactions. Knows no driver."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

RedisCommand = tuple[str | int | bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisReading:
    """The replies to some commands, and whose data they are of.

    `server_run` names the data that one run of a server has: a restart or a failover gives another
    name, for the last that was acknowledged may be lost then.
    """

    replies: list[Any]
    server_run: str


class GiveWayError(Exception):
    """Another writer has the lane: look again in a moment."""


class RedisReaderProtocol(Protocol):
    """Reading inside a transaction: what is watched is watched from the first reading on."""

    async def read(self, commands: Sequence[RedisCommand]) -> RedisReading:
        """Run the commands in one round trip."""
        ...


Compose = Callable[[RedisReaderProtocol], Awaitable[Sequence[RedisCommand]]]


class AtomicRedisClientProtocol(Protocol):
    """Redis with readings and optimistic transactions.

    Every method may raise `StoreUnavailableError`.
    """

    async def read(self, commands: Sequence[RedisCommand]) -> RedisReading:
        """Run the commands in one round trip; others may write in between."""
        ...

    async def transact(self, watch: Sequence[str], compose: Compose) -> list[Any] | None:
        """WATCH the keys, compose the commands from what is read then, and execute them together.

        `None` after the allowed number of tries says that others kept changing the keys.

        Raises:
            GiveWayError: raised by `compose`; nothing was executed.
        """
        ...

    async def transact_in_lane(
        self, lane: str, watch: Sequence[str], compose: Compose
    ) -> list[Any]:
        """Do the same while others are asked to give way, until it succeeds.

        The lane is a lock with a lease, and only makes progress likely: WATCH decides.
        """
        ...


def dict_of(reply: Any) -> dict[str, str]:  # noqa: ANN401 - a map or a list, by the protocol
    """Return the fields of a hash, which come as a flat list over the older protocol."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))

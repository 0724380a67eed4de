"""The address of the process: bound before anything else starts, closed without cutting off."""

import asyncio
import select
import socket
from contextlib import suppress

from batch_conductor_service.exceptions import SettingsError

BACKLOG = 4096  # connections that wait until they are accepted; the system may allow fewer
RECEIVE_BYTES = 64 * 1024  # that the system takes in for a connection before we read them
REFUSING_SECONDS = 0.25  # under heavy load somebody always waits


class Listener:
    """An address that is listened on. Whoever comes before `accept` is called waits.

    Raises:
        SettingsError: the address cannot be listened on; it is named.
    """

    def __init__(self, host: str, port: int) -> None:
        try:
            self._socket = _bind(host, port)
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            raise SettingsError(
                f"BCS_HTTP_HOST, BCS_HTTP_PORT: cannot listen on {host}:{port}: {reason}"
            ) from exc
        self.port: int = self._socket.getsockname()[1]
        self.is_refusing = False

    async def accept(self) -> socket.socket:
        """Return the next connection.

        Raises:
            OSError: it has gone again, the process has too many files open, or none is accepted
                any more.
        """
        accepted, _ = await asyncio.get_running_loop().sock_accept(self._socket)
        return accepted

    async def refuse(self) -> None:
        """Refuse connections from now on, after letting in those that the kernel has completed.

        Closing at once would reset connections that callers believe open. A refused one they know
        to try elsewhere.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + REFUSING_SECONDS
        while self._has_waiting() and loop.time() < deadline:
            await asyncio.sleep(0)
        self.is_refusing = True
        with suppress(OSError):  # not every system can shut a listening socket down; all close it
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Release the address."""
        self._socket.close()

    def _has_waiting(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)  # noqa: FBT003 - the standard library takes it by position
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound

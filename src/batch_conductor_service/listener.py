"""The door of the process: bound before anything else starts, and closed without cutting off."""

import asyncio
import os
import select
import socket
from contextlib import suppress

from batch_conductor_service.exceptions import SettingsError

BACKLOG = 512  # connections that wait until the server lets them in
MAX_CLOSING_ROUNDS = 100  # under heavy load somebody always waits


class Listener:
    """An address that is listened on. The server takes a copy of the socket.

    Whoever comes before the server is up waits at the door.

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
        self._server_descriptor = os.dup(self._socket.fileno())

    def server_socket(self) -> socket.socket:
        """Return the socket for the server, which takes it over."""
        return socket.socket(fileno=self._server_descriptor)

    async def refuse(self) -> None:
        """Refuse connections from now on, after letting in those that the kernel has completed.

        Closing at once would reset connections that callers believe open. A refused one they know
        to try elsewhere.
        """
        for _ in range(MAX_CLOSING_ROUNDS):
            if not self._has_waiting():
                break
            await asyncio.sleep(0)
        asyncio.get_running_loop().remove_reader(self._server_descriptor)
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
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound

"""The address of the process: bound before anything else starts, closed without cutting off."""

import asyncio
import ctypes
import select
import socket
import struct
from contextlib import suppress

from service_libs.exceptions import SettingsError

BACKLOG = 4096  # connections that wait until they are accepted; the system may allow fewer
RECEIVE_BYTES = 64 * 1024  # that the system takes in for a connection before we read them
REFUSING_SECONDS = 1  # at most, for connections that are being made to be completed and accepted
LOOK_SECONDS = 0.01

# For the system's filter of packets: of a TCP header take the flags; drop what begins a connection.
_SO_ATTACH_FILTER = 26
_DROP_BEGINNINGS = struct.pack(
    "=" + "HBBI" * 4,
    *(0x30, 0, 0, 13),  # load the byte at 13
    *(0x45, 0, 1, 0x02),  # unless SYN is set in it, skip one
    *(0x06, 0, 0, 0),  # drop
    *(0x06, 0, 0, 0xFFFF),  # pass
)


class Listener:
    """An address that is listened on. Whoever comes before `accept` is called waits.

    Args:
        settings: the names of the settings that the address is from.

    Raises:
        SettingsError: the address cannot be listened on; it is named.
    """

    def __init__(self, host: str, port: int, *, settings: str) -> None:
        try:
            self.socket = _bind(host, port)
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            raise SettingsError(f"{settings}: cannot listen on {host}:{port}: {reason}") from exc
        self.port: int = self.socket.getsockname()[1]
        self.is_refusing = False

    async def accept(self) -> socket.socket:
        """Return the next connection.

        Raises:
            OSError: it has gone again, the process has too many files open, or none is accepted
                any more.
        """
        accepted, _ = await asyncio.get_running_loop().sock_accept(self.socket)
        return accepted

    async def refuse(self) -> None:
        """Refuse connections from now on, after letting in those that callers believe open.

        Closing at once would reset them, and a request that was sent over one would be lost. So new
        ones first get no answer, for which callers try again; a refused one they know to try
        elsewhere.
        """
        await self.let_in_who_waits()
        self.is_refusing = True
        with suppress(OSError):  # not every system can shut a listening socket down; all close it
            self.socket.shutdown(socket.SHUT_RDWR)

    async def let_in_who_waits(self) -> None:
        """Answer no new connection any more, and return when those that are made are accepted."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + REFUSING_SECONDS
        self._ignore_beginnings()
        while loop.time() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._has_waiting():
                break

    def close(self) -> None:
        """Release the address."""
        self.socket.close()

    def _ignore_beginnings(self) -> None:
        program = ctypes.create_string_buffer(_DROP_BEGINNINGS)
        count = len(_DROP_BEGINNINGS) // struct.calcsize("=HBBI")
        with suppress(OSError):  # not every system has it; without, the moment is only likely right
            self.socket.setsockopt(
                socket.SOL_SOCKET,
                _SO_ATTACH_FILTER,
                struct.pack("HL", count, ctypes.addressof(program)),
            )

    def _has_waiting(self) -> bool:
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.settimeout(0)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound

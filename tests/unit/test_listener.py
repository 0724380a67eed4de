import asyncio
import socket
from pathlib import Path

import pytest

from batch_conductor_service.exceptions import SettingsError
from batch_conductor_service.listener import Listener


async def serve_one_word(listener: Listener) -> asyncio.Server:
    """Listen as the server does, on the copy of the socket; say a word to everyone let in."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        writer.close()
        await writer.wait_closed()

    return await asyncio.start_server(greet, sock=listener.server_socket())


async def test_a_free_port_is_found() -> None:
    listener = Listener("127.0.0.1", 0)
    server = await serve_one_word(listener)

    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)

    assert await reader.read() == b"welcome"
    writer.close()
    server.close()
    listener.close()


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(SettingsError, match=f"127.0.0.1:{port}: Address already in use"):
            Listener("127.0.0.1", port)


def test_a_host_that_is_not_ours_is_named() -> None:
    with pytest.raises(SettingsError, match=r"BCS_HTTP_HOST.*203\.0\.113\.1:4002"):
        Listener("203.0.113.1", 4002)


async def test_after_refusing_nobody_is_let_in_and_nobody_who_was_is_cut_off() -> None:
    listener = Listener("127.0.0.1", 0)
    server = await serve_one_word(listener)
    waiting = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(20)]

    await listener.refuse()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.port))
    for connection in waiting:
        reader, writer = await asyncio.open_connection(sock=connection)
        assert await reader.read() == b"welcome"
        writer.close()
    server.close()
    listener.close()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_closing_leaves_no_descriptor_but_the_servers_own() -> None:
    before = open_descriptors()
    listener = Listener("127.0.0.1", 0)

    listener.close()
    listener.server_socket().close()

    assert open_descriptors() == before

import asyncio
import socket
from pathlib import Path

import pytest

from service_libs.exceptions import SettingsError
from service_libs.http.listener import Listener


async def say_a_word_to_each(listener: Listener) -> None:
    """Accept until none is to be accepted any more."""
    while not listener.is_refusing:
        try:
            accepted = await listener.accept()
        except OSError:
            continue
        await asyncio.get_running_loop().sock_sendall(accepted, b"welcome")
        accepted.close()


async def test_a_free_port_is_found() -> None:
    listener = Listener("127.0.0.1", 0, settings="BCS_HTTP_HOST, BCS_HTTP_PORT")
    accepting = asyncio.create_task(say_a_word_to_each(listener))

    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)

    assert await reader.read() == b"welcome"
    writer.close()
    await listener.refuse()
    await accepting
    listener.close()


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(SettingsError, match=f"127.0.0.1:{port}: Address already in use"):
            Listener("127.0.0.1", port, settings="BCS_HTTP_HOST, BCS_HTTP_PORT")


def test_a_host_that_is_not_ours_is_named() -> None:
    with pytest.raises(SettingsError, match=r"BCS_HTTP_HOST.*203\.0\.113\.1:4002"):
        Listener("203.0.113.1", 4002, settings="BCS_HTTP_HOST, BCS_HTTP_PORT")


async def test_after_refusing_nobody_is_let_in_and_nobody_who_was_is_cut_off() -> None:
    listener = Listener("127.0.0.1", 0, settings="BCS_HTTP_HOST, BCS_HTTP_PORT")
    waiting = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(20)]
    accepting = asyncio.create_task(say_a_word_to_each(listener))

    await listener.refuse()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.port))
    for connection in waiting:
        reader, writer = await asyncio.open_connection(sock=connection)
        assert await reader.read() == b"welcome"
        writer.close()
    await accepting
    listener.close()


async def test_refusing_ends_while_nobody_accepts_those_who_wait() -> None:
    listener = Listener("127.0.0.1", 0, settings="BCS_HTTP_HOST, BCS_HTTP_PORT")
    with socket.create_connection(("127.0.0.1", listener.port)):
        async with asyncio.timeout(5):
            await listener.refuse()

    assert listener.is_refusing
    listener.close()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_closing_leaves_no_descriptor() -> None:
    before = open_descriptors()
    listener = Listener("127.0.0.1", 0, settings="BCS_HTTP_HOST, BCS_HTTP_PORT")

    listener.close()

    assert open_descriptors() == before

"""What libraries rely on with Python's own loop holds on the one that the service runs on."""

import asyncio
import signal
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvloop

from service_libs import event_loop

RESET_AT_CLOSE = struct.pack("ii", 1, 0)


@asynccontextmanager
async def connection() -> AsyncIterator[
    tuple[asyncio.StreamReader, asyncio.StreamWriter, socket.socket]
]:
    """Give both ends of a connection, the second one as a plain socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        reader, writer = await asyncio.open_connection(*server.getsockname())
        other, _ = server.accept()
        with other:
            yield reader, writer, other
        writer.close()


def reset(other: socket.socket) -> None:
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    other.close()


def test_the_work_runs_on_uvloop_and_its_result_is_returned() -> None:
    async def work() -> bool:
        return isinstance(asyncio.get_running_loop(), uvloop.Loop)

    assert event_loop.run(work())


async def test_tests_run_on_it_too() -> None:
    assert isinstance(asyncio.get_running_loop(), event_loop.EventLoop)


async def test_what_is_written_arrives_and_the_end_too() -> None:
    async with connection() as (_, writer, other):
        writer.write(b"one ")
        writer.writelines([b"two ", b"three"])
        writer.write_eof()
        await writer.drain()

        other.settimeout(5)
        received = await asyncio.to_thread(lambda: list(iter(lambda: other.recv(100), b"")))
        assert b"".join(received) == b"one two three"


async def test_what_is_written_to_a_lost_connection_goes_nowhere() -> None:
    """On uvloop alone it is a RuntimeError, which libraries take for a fault of their own."""
    async with connection() as (reader, writer, other):
        reset(other)
        with pytest.raises(ConnectionResetError):
            await reader.read()

        writer.write(b"one")
        writer.writelines([b"two"])
        writer.write_eof()

        with pytest.raises(ConnectionResetError):
            await writer.drain()


async def test_the_transport_of_uvloop_alone_does_raise_then() -> None:
    """When this fails, uvloop behaves as Python's own loop does, and needs no wrapper."""
    async with connection() as (reader, writer, other):
        reset(other)
        with pytest.raises(ConnectionResetError):
            await reader.read()

        with pytest.raises(RuntimeError):
            writer.transport.wrapped.write(b"one")  # type: ignore[attr-defined] # of our wrapper


async def test_the_same_holds_over_a_socket_in_the_file_system() -> None:
    ours, other = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    other.close()
    assert await reader.read() == b""

    writer.write(b"one")
    await asyncio.sleep(0.01)
    writer.write(b"two")

    writer.close()
    with pytest.raises(OSError, match=r".*"):
        await writer.wait_closed()


async def test_a_connection_that_goes_over_to_tls_is_handed_on_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only uvloop's own transports can go over."""
    handed_on: list[object] = []

    async def start_tls(_loop: object, transport: object, *_more: object) -> object:
        handed_on.append(transport)
        return transport

    monkeypatch.setattr(uvloop.Loop, "start_tls", start_tls)
    loop = event_loop.EventLoop()
    own = object()
    try:
        for transport in (own, event_loop.ConnectedTransport(own)):
            going = loop.start_tls(transport, asyncio.Protocol(), None)
            with pytest.raises(StopIteration) as ended:
                going.send(None)
            assert ended.value.value.wrapped is own
    finally:
        loop.close()

    assert handed_on == [own, own]


async def test_a_listening_socket_that_is_shut_down_ends_the_wait_for_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        accepting = asyncio.ensure_future(asyncio.get_running_loop().sock_accept(server))
        await asyncio.sleep(0.01)

        server.shutdown(socket.SHUT_RDWR)

        with pytest.raises(OSError, match="Invalid argument"):
            await asyncio.wait_for(accepting, 5)


async def test_a_signal_is_handled_in_the_loop() -> None:
    has_come = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, has_come.set)

    signal.raise_signal(signal.SIGUSR1)

    await asyncio.wait_for(has_come.wait(), 5)
    loop.remove_signal_handler(signal.SIGUSR1)

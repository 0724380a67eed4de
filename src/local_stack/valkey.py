"""Valkey, which speaks Redis's protocol."""

import socket
from collections.abc import Sequence
from pathlib import Path

from local_stack.ports import LOCALHOST, find_free_port
from local_stack.processes import ServerProcess
from local_stack.wheels import find_valkey_server


class ValkeyServer:
    """A Valkey that keeps every write on disk and never evicts, as production must.

    Args:
        options: more of the program's options, for what tests need.
    """

    def __init__(
        self, directory: Path, *, port: int | None = None, options: Sequence[str] = ()
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = port or find_free_port()
        self._process = ServerProcess(
            "Valkey",
            [
                *(find_valkey_server(), "--port", str(self.port), "--bind", LOCALHOST),
                *("--dir", directory, "--daemonize", "no"),
                *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                *("--maxmemory-policy", "noeviction"),
                *options,
            ],
            log_path=directory / "valkey.log",
        )

    @property
    def url(self) -> str:
        """Its address, as `BCS_REDIS_URL` takes it."""
        return f"redis://{LOCALHOST}:{self.port}/0"

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process.is_running

    def start(self) -> None:
        """Start it and return when it answers."""
        self._process.start(has_data=True)
        self._process.wait_ready(self._answers)

    def stop(self) -> None:
        """End it in order."""
        self._process.stop()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()

    def _answers(self) -> bool:
        """Whether it answers a ping: while it reads its file it accepts but refuses commands."""
        try:
            with socket.create_connection((LOCALHOST, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

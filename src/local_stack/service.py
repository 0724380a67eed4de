"""A service as a child process."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from local_stack.asking import ServiceClient
from local_stack.ports import LOCALHOST
from local_stack.processes import LocalServerError, ServerProcess

BCS = (sys.executable, "-m", "batch_conductor_service.cli")
BOS = (sys.executable, "-m", "batch_orchestrator_service.cli")
GATEWAY = (sys.executable, "-m", "api_gateway_service.cli")
ServiceName = Literal["bcs", "bos", "gateway"]
# Of each service: its command, and what the names of its settings begin with.
PROGRAMS: Mapping[ServiceName, tuple[Sequence[str], str]] = {
    "bcs": (BCS, "BCS"),
    "bos": (BOS, "BOS"),
    "gateway": (GATEWAY, "API_GATEWAY"),
}
SHUTDOWN_TIMEOUT_SECONDS = "10"  # less than a child gets before it is killed


class ServiceProcess:
    """`bcs serve`, or another service's, in the environment that the local stack gives."""

    def __init__(
        self, name: ServiceName, directory: Path, settings: Mapping[str, str], *, port: int
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = port
        self.client = ServiceClient(f"http://{LOCALHOST}:{port}")
        self.log_path = directory / f"{name}.log"
        self._command, prefix = PROGRAMS[name]
        self._environment = {
            **clean_environment(),
            **settings,
            f"{prefix}_HTTP_HOST": LOCALHOST,
            f"{prefix}_HTTP_PORT": str(port),
            f"{prefix}_SHUTDOWN_TIMEOUT_SECONDS": SHUTDOWN_TIMEOUT_SECONDS,
        }
        self._process = ServerProcess(
            prefix,
            [*self._command, "serve"],
            log_path=self.log_path,
            environment=self._environment,
        )

    @property
    def pid(self) -> int | None:
        """The process's id while it is alive."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process.is_running

    def migrate(self) -> None:
        """Bring the database to the newest schema.

        Raises:
            LocalServerError: it did not work; the error has what was said about it.
        """
        done = subprocess.run(
            [*self._command, "migrate"],
            check=False,
            capture_output=True,
            text=True,
            env=self._environment,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise LocalServerError(f"The migration failed.\n{done.stdout}{done.stderr}")

    def start(self) -> None:
        """Start it and return when it is ready to answer."""
        self.launch()
        self._process.wait_ready(self.client.is_ready)

    def launch(self) -> None:
        """Start it and return at once."""
        self._process.start()

    def terminate(self) -> None:
        """Ask it to end, and do not wait."""
        self._process.terminate()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()

    def stop(self) -> int | None:
        """End it in order; return its exit code."""
        return self._process.stop()


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of the services: this stack is its own world."""
    prefixes = tuple(f"{prefix}_" for _, prefix in PROGRAMS.values())
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}

"""The service itself as a child process, and what is asked of it over HTTP."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from batch_conductor_service.config import ENV_PREFIX
from batch_conductor_service.local.processes import LOCALHOST, LocalServerError, ServerProcess

BCS = (sys.executable, "-m", "batch_conductor_service.cli")
REQUEST_TIMEOUT_SECONDS = 10
SHUTDOWN_TIMEOUT_SECONDS = "10"  # less than a child gets before it is killed

Json = dict[str, Any]


class ServiceProcess:
    """`bcs serve` in the environment that the local stack gives."""

    def __init__(self, directory: Path, settings: Mapping[str, str], *, port: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.url = f"http://{LOCALHOST}:{port}"
        self.log_path = directory / "bcs.log"
        self._environment = {
            **clean_environment(),
            **settings,
            "BCS_HTTP_HOST": LOCALHOST,
            "BCS_HTTP_PORT": str(port),
            "BCS_SHUTDOWN_TIMEOUT_SECONDS": SHUTDOWN_TIMEOUT_SECONDS,
        }
        self._process = ServerProcess(
            "The service", [*BCS, "serve"], log_path=self.log_path, environment=self._environment
        )

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process.is_running

    def migrate(self) -> None:
        """Bring the database to the newest schema.

        Raises:
            LocalServerError: it did not work; what was said about it is told.
        """
        done = subprocess.run(
            [*BCS, "migrate"],
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
        self._process.start()
        self._process.wait_ready(self._is_ready)

    def stop(self) -> int | None:
        """End it in order; return its exit code."""
        return self._process.stop()

    def get(self, path: str) -> tuple[int, Json]:
        """Return status and body of the answer."""
        return self._ask(urllib.request.Request(self.url + path))

    def post(self, path: str, body: Json) -> tuple[int, Json]:
        """Return status and body of the answer."""
        headers = {"Content-Type": "application/json"}
        content = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=content, headers=headers)
        return self._ask(request)

    def _is_ready(self) -> bool:
        try:
            return self.get("/readyz")[0] == HTTPStatus.OK
        except OSError:
            return False

    def _ask(self, request: urllib.request.Request) -> tuple[int, Json]:
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_SECONDS) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, json.load(exc)


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of the service: this stack is its own world."""
    return {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}

"""A server as a child process: started, waited for, stopped, killed.

A child has a session of its own, so that Ctrl-C at the terminal reaches only its parent, and
ends with its parent however that dies.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from service_libs.exceptions import ServiceError

START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 15.0
POLL_SECONDS = 0.02
LOG_TAIL_LINES = 10

_PR_SET_PDEATHSIG = 1  # prctl(2)


class LocalServerError(ServiceError):
    """A local server cannot be had or does not start."""

    code = "local_server"


class ServerProcess:
    """One server process; `start` may be called again after it was stopped or killed.

    The kernel ends the child when the *thread* that started it ends, so start it from one that
    stays.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log_path: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: tuple[int, int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._command = [str(part) for part in command]
        self._stop_signal = stop_signal
        self._user = user
        self._environment = environment
        self._pid_path = log_path.with_suffix(".pid")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process's id while it is alive."""
        return self._process.pid if self._process is not None and self.is_running else None

    def start(self, *, has_data: bool = False) -> None:
        """Start the process; whether it is ready says `wait_ready`.

        Data beside its log only one process may use: that of a run that was killed is waited for,
        for it ends with its parent, but in its own time.
        """
        if self.is_running:
            return
        if has_data:
            self._await_predecessor()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment,
                user=self._user[0] if self._user else None,
                group=self._user[1] if self._user else None,
                extra_groups=[] if self._user else None,
                preexec_fn=_end_with_parent(self._stop_signal),  # noqa: PLW1509 - one system call, no lock
            )
        if has_data:
            self._pid_path.write_text(str(self._process.pid))

    def wait_ready(
        self, is_ready: Callable[[], bool], *, timeout: float = START_TIMEOUT_SECONDS
    ) -> None:
        """Return when the server answers.

        Raises:
            LocalServerError: it ended, or did not answer in time; the error has its last words.
        """
        deadline = time.monotonic() + timeout
        while not is_ready():
            if not self.is_running:
                raise LocalServerError(f"{self.name} ended while it started.\n{self._last_words()}")
            if time.monotonic() > deadline:
                raise LocalServerError(
                    f"{self.name} did not answer within {timeout:g} s.\n{self._last_words()}"
                )
            time.sleep(POLL_SECONDS)

    def terminate(self) -> None:
        """Ask the process to end."""
        if self._process is not None and self.is_running:
            self._process.send_signal(self._stop_signal)

    def stop(self) -> int | None:
        """Ask the process to end, insist after a while, and return its exit code."""
        if self._process is None:
            return None
        self.terminate()
        try:
            return self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def kill(self) -> None:
        """End the process and its children as a power cut would."""
        if self._process is None:
            return
        children = _children_of(self._process.pid) if self.is_running else []
        self._process.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._process.wait()

    def _await_predecessor(self) -> None:
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while self._has_predecessor() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def _has_predecessor(self) -> bool:
        try:
            pid = int(self._pid_path.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return False
        return command.startswith(self._command[0].encode())  # the id may be another's by now

    def _last_words(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"The end of {self.log_path}:", *(f"  {line}" for line in lines)])


def _children_of(pid: int) -> list[int]:
    """Return the children's ids; none where the system does not say."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(child) for child in children.split()]


def _end_with_parent(stop_signal: signal.Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork

    def bind_to_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, int(stop_signal))

    return bind_to_parent

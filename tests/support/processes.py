"""The service as a process of its own, started as an operator does."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

ROOT = Path(__file__).parents[2]
START_SECONDS = 60  # on a machine that is busy with the other tests


class ServiceProcess:
    """`bcs serve`, or another service's, and what it logs.

    Args:
        settings: those of the service, without their prefix.
        is_timed: whether its use of the processor counts: then its coverage is not measured.
        program: its command, in capitals what the names of its settings begin with.
    """

    def __init__(
        self, settings: Mapping[str, object], *, is_timed: bool = False, program: str = "bcs"
    ) -> None:
        defaults = {"ENVIRONMENT": "testing", "HTTP_HOST": "127.0.0.1", "HTTP_PORT": 0}
        values = defaults | dict(settings)
        prefix = program.upper().replace("-", "_")
        environment = {f"{prefix}_{name}": str(value) for name, value in values.items()}
        self._process = subprocess.Popen(
            [Path(sys.executable).with_name(program), "serve"],
            cwd=ROOT,
            env=inherited(is_timed=is_timed) | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.log: list[dict[str, Any]] = []
        self.output: list[str] = []
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line)
        self._lines.put(None)

    def wait_for_event(self, name: str) -> dict[str, Any]:
        """Return the next log line of that event; fail with the output when it does not come."""
        while True:
            try:
                line = self._lines.get(timeout=START_SECONDS)
            except Empty:
                line = None
            if line is None:
                raise AssertionError("\n".join([f"no event {name}", *self.output]))
            if self._keep(line) == name:
                return self.log[-1]

    def signal(self, number: signal.Signals) -> None:
        """Send the signal."""
        self._process.send_signal(number)

    def end(self) -> None:
        """Ask it to end, if it runs, and return when it has: what it has to say is said first.

        Raises:
            subprocess.TimeoutExpired: it does not end.
        """
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
            self.wait()

    def wait(self) -> int:
        """Return the exit code, with all output read."""
        code = self._process.wait(timeout=START_SECONDS)
        self._reader.join()
        while (line := self._lines.get()) is not None:
            self._keep(line)
        return code

    def close(self) -> None:
        """Leave no process behind, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        if self._process.stdout:
            self._process.stdout.close()

    def _keep(self, line: str) -> str | None:
        self.output.append(line.rstrip("\n"))
        if not line.startswith("{"):
            return None
        self.log.append(json.loads(line))
        return str(self.log[-1]["event"])


def inherited(*, is_timed: bool) -> dict[str, str]:
    """Return the environment of a process that is started here."""
    is_measuring = "COVERAGE_" if is_timed else "\0"
    return {name: value for name, value in os.environ.items() if not name.startswith(is_measuring)}


@contextmanager
def service_process(**settings: object) -> Iterator[ServiceProcess]:
    """Start the service with these settings, named without their prefix, and end it in order.

    A kill would lose what an answer has already promised to others. A test that wants one
    sends the signal itself; only a test that failed has its service cut off.
    """
    with ended_in_order(ServiceProcess(settings)) as process:
        yield process


@contextmanager
def ended_in_order(process: ServiceProcess) -> Iterator[ServiceProcess]:
    """Give the process, and end it; at once, if the test failed."""
    try:
        yield process
        process.end()
    finally:
        process.close()


@contextmanager
def serving_process(**settings: object) -> Iterator[tuple[ServiceProcess, str]]:
    """Start the service, wait until it serves, and give it with its address."""
    with service_process(**settings) as process:
        yield process, address_of(process)


@contextmanager
def timed_process(**settings: object) -> Iterator[tuple[ServiceProcess, str]]:
    """Do the same for a service whose use of the processor counts."""
    with ended_in_order(ServiceProcess(settings, is_timed=True)) as process:
        yield process, address_of(process)


def address_of(process: ServiceProcess) -> str:
    """Return where the service listens, as soon as it does."""
    return f"http://127.0.0.1:{process.wait_for_event('serving')['port']}"

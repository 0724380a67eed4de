"""The start of a service, and what its command takes to say what it can do.

From the start of the process until a request is answered. Most of that is the import of libraries:
what a command does not need it does not load.
"""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence

from bench.figures import Figure, Goal, middle, rounds
from bench.machine import cpu_seconds
from bench.servers import Servers
from local_stack.ports import LOCALHOST, find_free_port
from local_stack.service import PROGRAMS, ServiceName, ServiceProcess

HELP_GOAL = Goal(bound=0.2, kind="at most")
SERVE_GOAL = Goal(bound=1.2, kind="at most")
PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.005
COMMANDS: dict[ServiceName, str] = {"bcs": "bcs", "bos": "bos", "gateway": "api-gateway"}
# The gateway asks for no more than a development's keys here: none.
GATEWAY = {"API_GATEWAY_ENVIRONMENT": "development", "API_GATEWAY_AUTH_MODE": "disabled"}


def measure(servers: Servers, *, is_quick: bool) -> Iterator[Figure]:
    """Measure help and start of each service."""
    count = 3 if is_quick else 9
    yield from _measure_help(count)
    for name, command in COMMANDS.items():
        starts = [_start(servers, name) for _ in range(1 if is_quick else 5)]
        yield Figure(
            work=f"`{command} serve`, to the first answer",
            measured=middle([seconds for seconds, _ in starts]),
            unit="s",
            goal=SERVE_GOAL if name == "bcs" else None,
            remark=f"{middle([cpu for _, cpu in starts]):.2f} s of the processor by then",
        )


def _measure_help(count: int) -> Iterator[Figure]:
    alone = "python"
    commands: dict[str, Sequence[str]] = {alone: [sys.executable, "-c", "pass"]}
    commands |= {COMMANDS[name]: [*PROGRAMS[name][0], "--help"] for name in COMMANDS}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for name in rounds(count, *commands):
        taken[name].append(_seconds_of(commands[name]))
    for name in COMMANDS.values():
        yield Figure(
            work=f"`{name} --help`",
            measured=middle(taken[name]),
            unit="s",
            goal=HELP_GOAL,
            remark=f"Python alone takes {middle(taken[alone]):.3f} s",
        )


def _seconds_of(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def _start(servers: Servers, name: ServiceName) -> tuple[float, float]:
    """Return the seconds until the first answer, and those of the processor."""
    port = find_free_port()
    settings = servers.settings() | GATEWAY
    service = ServiceProcess(name, servers.directory / f"{name}-{port}", settings, port=port)
    if name != "gateway":
        service.migrate()
    began = time.perf_counter()
    service.launch()
    try:
        while not _answers(port):
            if time.perf_counter() - began > PATIENCE_SECONDS or service.pid is None:
                raise RuntimeError(f"No answer of {name}: see {service.log_path}")
            time.sleep(LOOK_SECONDS)
        assert service.pid is not None
        return time.perf_counter() - began, cpu_seconds(service.pid)
    finally:
        service.stop()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOCALHOST}:{port}/livez", timeout=5):
            return True
    except OSError:
        return False

"""What the figures were taken on, and a look at the processes that are measured."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("quart", "hypercorn", "uvloop", "redis", "hiredis", "aiokafka", "asyncpg", "fastapi")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def describe_machine(servers: dict[str, str]) -> dict[str, str]:
    """Return machine, versions and commit, by name."""
    return {
        "taken": datetime.now(UTC).strftime("%d %B %Y"),
        "commit": _commit(),
        "machine": f"{os.cpu_count()} cores, {_processor()}, {_gibibytes():.0f} GiB",
        "system": f"{platform.system()}, Python {platform.python_version()}",
        **servers,
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def resident_mebibytes(pid: int) -> float:
    """Return how much memory of a process is in use."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607 - whichever git there is
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _gibibytes() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30

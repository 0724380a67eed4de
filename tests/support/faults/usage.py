"""What a process holds: memory, descriptors, connections; and whether that grows."""

import statistics
from dataclasses import dataclass
from pathlib import Path

PAGE_BYTES = 4096
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a process holds at a time."""

    minutes: float
    memory_mib: float
    descriptors: int
    connections: int


def measure(pid: int, minutes: float) -> Usage:
    """Return what the process holds now."""
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    links = [
        str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if _is_open(entry)
    ]
    return Usage(
        minutes=minutes,
        memory_mib=resident * PAGE_BYTES / MIB,
        descriptors=len(links),
        connections=sum(link.startswith("socket:") for link in links),
    )


def growth_per_minute(usages: list[Usage], what: str) -> float:
    """Return the slope of the line through the second half: the first is warming up."""
    later = usages[len(usages) // 2 :]
    return statistics.linear_regression(
        [usage.minutes for usage in later], [float(getattr(usage, what)) for usage in later]
    ).slope


def _is_open(entry: Path) -> bool:
    try:
        entry.readlink()
    except FileNotFoundError:
        return False
    return True

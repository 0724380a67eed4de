"""What pytest finds here is the same each time, whoever collects: a test has one name."""

import subprocess
import sys

from tests.support.processes import ROOT, inherited

NAMES = ("unit", "contract", "fuzz", "integration", "acceptance", "faults", "operations")
DIRECTORIES = tuple(f"tests/{name}" for name in NAMES)


def start_collecting(seed: str) -> "subprocess.Popen[str]":
    """Start a collection in which sets and dictionaries of strings have an order of their own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *DIRECTORIES],
        cwd=ROOT,
        env=inherited(is_timed=True) | {"PYTHONHASHSEED": seed},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_every_test_has_the_same_name_in_every_process() -> None:
    """Else those who share the tests among processes cannot agree on what there is."""
    collecting = [start_collecting(seed) for seed in ("1", "2")]
    said = [process.communicate()[0] for process in collecting]

    first, second = ([line for line in text.splitlines() if "::" in line] for text in said)
    assert len(first) > 1000, said[0]
    assert first == second

import os
import subprocess
import sys

from service_libs.failpoints import EXIT_CODE, failpoint

SCRIPT = """
from service_libs.failpoints import failpoint
for number in range(3):
    failpoint("ingest.polled")
    failpoint("ingest.applied")
    print(number)
"""


def run_with(armed: str) -> tuple[int, list[str]]:
    environment = os.environ | {"BCS_FAILPOINT": armed, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=False, capture_output=True, text=True, env=environment
    )
    return done.returncode, done.stdout.split()


def test_a_process_ends_at_the_armed_failpoint() -> None:
    assert run_with("ingest.polled") == (EXIT_CODE, [])


def test_a_process_ends_when_a_failpoint_is_passed_so_often() -> None:
    assert run_with("ingest.applied:3") == (EXIT_CODE, ["0", "1"])


def test_another_failpoint_does_nothing() -> None:
    assert run_with("ingest.other") == (0, ["0", "1", "2"])


def test_a_failpoint_that_is_not_armed_does_nothing() -> None:
    failpoint("ingest.polled")


def test_an_armed_failpoint_raises_once() -> None:
    assert run_with("ingest.polled:2:raise") == (1, ["0"])


def test_several_failpoints_can_be_armed() -> None:
    assert run_with("ingest.applied:3,ingest.polled:2") == (EXIT_CODE, ["0"])

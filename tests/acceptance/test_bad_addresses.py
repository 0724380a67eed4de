"""A bad address, or an unknown name, is one line at the start, without the secret in it."""

import subprocess

import pytest

from local_stack.service import BCS, clean_environment
from tests.support.processes import service_process

SECRET = "s3cret"
BAD = [
    ("REDIS_URL", f"redis://:{SECRET}@redis?foo=bar", "option foo is not known"),
    ("DATABASE_URL", f"postgresql://bcs:{SECRET}@db:many/bcs", "its port is no number from 1"),
    ("SERVICE_TOKN", SECRET, "no such setting; the nearest is BCS_SERVICE_TOKEN"),
]


@pytest.mark.parametrize(("name", "value", "reason"), BAD)
def test_serve_says_it_in_one_line(name: str, value: str, reason: str) -> None:
    with service_process(ENVIRONMENT="production", LOG_LEVEL="WARNING", **{name: value}) as process:
        assert process.wait() == 1

    [line] = process.output
    assert f"BCS_{name}: {reason}" in line
    assert SECRET not in line


@pytest.mark.parametrize(("name", "value", "reason"), [bad for bad in BAD if bad[0] != "REDIS_URL"])
def test_migrate_says_it_in_one_line(name: str, value: str, reason: str) -> None:
    done = subprocess.run(
        [*BCS, "migrate"],
        env=clean_environment() | {f"BCS_{name}": value},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: BCS_{name}: {reason}")
    assert done.stderr.count("\n") == 1
    assert SECRET not in done.stderr

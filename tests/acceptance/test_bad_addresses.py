"""An address with a fault is one line at the start, without the secret in it."""

import subprocess

import pytest

from local_stack.service import BCS, clean_environment
from tests.support.processes import service_process

SECRET = "s3cret"
BAD = [
    ("REDIS_URL", f"redis://:{SECRET}@redis?foo=bar", "option foo is not known"),
    ("DATABASE_URL", f"postgresql://bcs:{SECRET}@db:many/bcs", "its port is no number from 1"),
]


@pytest.mark.parametrize(("name", "url", "reason"), BAD)
def test_serve_says_it_in_one_line(name: str, url: str, reason: str) -> None:
    with service_process(ENVIRONMENT="production", LOG_LEVEL="WARNING", **{name: url}) as process:
        assert process.wait() == 1

    [line] = process.log
    assert len(process.output) == 1
    assert line["event"] == "start_failed"
    assert line["reason"].startswith(f"BCS_{name}: {reason}")
    assert SECRET not in process.output[0]


@pytest.mark.parametrize(
    ("url", "reason"), [(url, reason) for name, url, reason in BAD if "DATA" in name]
)
def test_migrate_says_it_in_one_line(url: str, reason: str) -> None:
    done = subprocess.run(
        [*BCS, "migrate"],
        env=clean_environment() | {"BCS_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: BCS_DATABASE_URL: {reason}")
    assert done.stderr.count("\n") == 1
    assert SECRET not in done.stderr

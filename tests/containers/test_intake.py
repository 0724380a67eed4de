"""The image within the composition's memory, beside callers that never end their requests."""

import os
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest

from local_stack.ports import LOCALHOST, find_free_port
from tests.support.bystander import BEARER, Bystander
from tests.support.composition import run
from tests.support.half_sent import half_sent, head

IMAGE = f"batch-conductor-service:{os.environ.get('BCS_IMAGE_TAG', 'latest')}"
MEBIBYTE = 1024 * 1024
ATTACKERS = 2_000
SECONDS = 12  # longer than a body may take to arrive


@pytest.fixture
def container() -> Iterator[tuple[str, str]]:
    """The service in memory, as limited as in the composition; its name and its address."""
    port = find_free_port()
    name = f"bcs-intake-{port}"
    run(
        *("docker", "run", "--detach", "--name", name, "--memory", "512m", "--memory-swap", "512m"),
        *("--read-only", "--cap-drop", "ALL"),
        *("--publish", f"{LOCALHOST}:{port}:4002"),
        *("--env", "BCS_ENVIRONMENT=testing", "--env", "BCS_SERVICE_TOKEN=s3cret"),
        IMAGE,
    )
    try:
        wait_until_it_lives(f"http://{LOCALHOST}:{port}")
        yield name, f"http://{LOCALHOST}:{port}"
    finally:
        subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True)


def inspect(name: str, template: str) -> str:
    return run("docker", "inspect", "--format", template, name).strip()


def wait_until_it_lives(address: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"{address}/livez").is_success:
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("headers", [{}, BEARER], ids=["without-token", "with-token"])
async def test_others_are_served_beside_two_thousand_half_sent_bodies(
    container: tuple[str, str], headers: dict[str, str]
) -> None:
    name, address = container
    bystander = Bystander(address, int(inspect(name, "{{.State.Pid}}")))
    async with half_sent(address, ATTACKERS, head(MEBIBYTE, **headers), MEBIBYTE // 2):
        await bystander.ask_for(SECONDS)

    state = "{{.State.Running}} {{.State.OOMKilled}} {{.RestartCount}}"
    assert inspect(name, state) == "true false 0"
    assert set(bystander.statuses) == {200}
    assert bystander.slowest_life_seconds < 1

"""`bcs local`: the whole story on a machine that has Python alone."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_conductor_service.local.ports import LOCALHOST, find_free_port
from batch_conductor_service.local.service import BCS, clean_environment
from batch_conductor_service.local.stack import remove_stack_data

ENVIRONMENT = clean_environment() | {"COLUMNS": "120"}


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "local"
    yield path
    remove_stack_data(path)


def start(directory: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*BCS, "local", "--data", str(directory), *options],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Return what the process says up to the text."""
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(f"{text!r} was not said, but:\n{said}")


def processes_of(directory: Path) -> list[str]:
    """Return the command lines that name the directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(directory) in command:
            found.append(command)
    return found


def test_story_comes_out_and_everything_ends(directory: Path) -> None:
    process = start(directory, "--port", str(find_free_port()), "--no-wait")

    said, _ = process.communicate(timeout=100)

    assert process.returncode == 0, said
    answers = [line.strip() for line in said.splitlines() if "Answer:" in line]
    assert answers == [
        "Answer: spellcheck → cj_assessment",
        "Answer: spellcheck → cj_assessment",
        "Answer: cj_assessment",
    ]
    assert "essay-10 spellchecked: 10 of 10 counted" in said
    assert '"skip_reason": "already_completed"' in said
    assert processes_of(directory) == []


def test_serves_until_a_signal_and_takes_another_port_when_its_own_is_taken(
    directory: Path,
) -> None:
    with socket.create_server((LOCALHOST, 0)) as taken:
        port = taken.getsockname()[1]
        process = start(directory, "--port", str(port))
        said = read_until(process, "until Ctrl-C")
    assert f"Port {port} is taken" in said

    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=30)

    assert process.returncode == 0, rest
    assert processes_of(directory) == []


def test_second_run_in_the_same_place_is_refused_and_harms_nothing(directory: Path) -> None:
    first = start(directory, "--port", str(find_free_port()))
    read_until(first, "PostgreSQL on port")

    second = start(directory, "--no-wait")
    said, _ = second.communicate(timeout=30)

    assert second.returncode == 1
    assert "Another `bcs local` uses" in " ".join(said.split())
    read_until(first, "until Ctrl-C")
    first.terminate()
    first.communicate(timeout=30)
    assert first.returncode == 0


def test_killed_run_leaves_no_process_and_the_next_one_works(directory: Path) -> None:
    first = start(directory, "--port", str(find_free_port()))
    read_until(first, "until Ctrl-C")
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()

    deadline = time.monotonic() + 15
    while processes_of(directory) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(directory) == []
    second = start(directory, "--port", str(find_free_port()), "--no-wait")
    said, _ = second.communicate(timeout=100)
    assert second.returncode == 0, said

"""`bcs local`: the whole story on a machine that has Python alone."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local_stack.ports import LOCALHOST, find_free_port
from local_stack.service import BCS, clean_environment
from local_stack.stack import remove_stack_data

ENVIRONMENT = clean_environment() | {"COLUMNS": "120"}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a whole run said and left, and what a second one beside it said."""

    wanted_port: int
    said: str
    exit_code: int
    left_over: list[str]
    second_said: str
    second_exit_code: int


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "local"
    yield path
    remove_stack_data(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run from the start to Ctrl-C, on a port that is taken, with a second one beside it."""
    directory = tmp_path_factory.mktemp("run") / "local"
    with socket.create_server((LOCALHOST, 0)) as taken:
        port = taken.getsockname()[1]
        process = start(directory, "--port", str(port))
        said = read_until(process, "until Ctrl-C")
    second = start(directory, "--no-wait")
    second_said, _ = second.communicate(timeout=60)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    left_over = processes_of(directory)
    remove_stack_data(directory)
    return Run(
        wanted_port=port,
        said=said + rest,
        exit_code=process.returncode,
        left_over=left_over,
        second_said=" ".join(second_said.split()),
        second_exit_code=second.returncode,
    )


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


def test_spellcheck_is_skipped_once_all_essays_have_been_through_it(run: Run) -> None:
    answers = [line.strip() for line in run.said.splitlines() if "Answer:" in line]
    assert answers == [
        "Answer: spellcheck → cj_assessment",
        "Answer: spellcheck → cj_assessment",
        "Answer: cj_assessment",
    ]


def test_essays_are_counted_one_by_one(run: Run) -> None:
    for number in range(1, 11):
        assert f"{number} of 10 counted" in run.said


def test_skip_event_is_read_back_from_kafka(run: Run) -> None:
    assert '"skip_reason": "already_completed"' in run.said


def test_a_second_pipeline_hands_corrected_texts_to_cj(run: Run) -> None:
    commanded = [line.strip() for line in run.said.splitlines() if "commanded:" in line]
    assert [line.split()[1] for line in commanded] == ["spellcheck", "nlp", "cj_assessment"]
    assert "corrected-essay-01" in commanded[2]
    assert "spellcheck: skipped_by_user_config, already_completed" in run.said
    assert "The flow came out as it should." in run.said


def test_taken_port_is_named_and_another_one_chosen(run: Run) -> None:
    assert f"Port {run.wanted_port} is taken" in run.said
    assert f"The service on http://{LOCALHOST}:{run.wanted_port}\n" not in run.said


def test_interrupt_ends_everything(run: Run) -> None:
    assert run.exit_code == 0
    assert run.left_over == []


def test_second_run_in_the_same_place_is_refused(run: Run) -> None:
    assert run.second_exit_code == 1
    assert "Another `bcs local` uses" in run.second_said


def test_killed_run_leaves_no_process_and_the_next_one_works(directory: Path) -> None:
    first = start(directory, "--port", str(find_free_port()))
    read_until(first, "PostgreSQL on port")
    first.kill()
    first.communicate()

    deadline = time.monotonic() + 20
    while processes_of(directory) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(directory) == []
    second = start(directory, "--port", str(find_free_port()), "--no-wait")
    said, _ = second.communicate(timeout=100)
    assert second.returncode == 0, said
    assert processes_of(directory) == []

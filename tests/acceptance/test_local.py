"""`bcs local`: the whole story on a machine that has Python alone."""

import json
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_stack.ports import LOCALHOST, find_free_port
from local_stack.service import BCS, clean_environment
from local_stack.stack import remove_stack_data

ENVIRONMENT = clean_environment() | {"COLUMNS": "120"}
RUN_SECONDS = 30  # for a pipeline whose phases take two seconds each


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a whole run said and left, what its invitation led to, and what a second one said."""

    wanted_port: int
    wanted_gateway_port: int
    tried: tuple[int, Any]
    end: dict[str, Any]
    pages: list[int]
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
    """One run from the start to Ctrl-C, on ports that are taken, with a second one beside it."""
    directory = tmp_path_factory.mktemp("run") / "local"
    with (
        socket.create_server((LOCALHOST, 0)) as taken,
        socket.create_server((LOCALHOST, 0)) as taken_too,
    ):
        port, gateway_port = taken.getsockname()[1], taken_too.getsockname()[1]
        process = start(directory, "--port", str(port), "--gateway-port", str(gateway_port))
        said = read_until(process, "until Ctrl-C")
    posting, listening = find_commands(said)
    tried = run_command(posting)
    end = read_events(listening)
    pages = [
        httpx.get(url).status_code for url in re.findall(r"^  (http\S+)  ", said, re.MULTILINE)
    ]
    second = start(directory, "--no-wait")
    second_said, _ = second.communicate(timeout=60)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    left_over = processes_of(directory)
    remove_stack_data(directory)
    return Run(
        wanted_port=port,
        wanted_gateway_port=gateway_port,
        tried=tried,
        end=end,
        pages=pages,
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


def find_commands(said: str) -> list[list[str]]:
    """Return the words of each curl that was printed, with the token that was printed."""
    [token] = re.findall(r"^  TOKEN=(\S+)$", said, re.MULTILINE)
    lines = re.findall(r"^  (curl .*)$", said.replace("\\\n", " "), re.MULTILINE)
    return [shlex.split(line.replace("$TOKEN", token)) for line in lines]


def request_of(words: list[str]) -> dict[str, Any]:
    """Return the request that curl makes of these words."""
    assert words[0] == "curl"
    named = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    body = words[words.index("-d") + 1] if "-d" in words else None
    [url] = [word for word in words if word.startswith("http://")]
    return {"method": "POST" if body else "GET", "url": url, "headers": named, "content": body}


def run_command(words: list[str]) -> tuple[int, Any]:
    """Return status and body of the answer."""
    answer = httpx.request(**request_of(words))
    return answer.status_code, answer.json()


def read_events(words: list[str]) -> dict[str, Any]:
    """Return the status by which the run has ended."""
    deadline = time.monotonic() + RUN_SECONDS
    with httpx.stream(**request_of(words), timeout=RUN_SECONDS) as answer:
        for line in answer.iter_lines():
            assert time.monotonic() < deadline, line
            if line.startswith("data: "):
                status: dict[str, Any] = json.loads(line.removeprefix("data: "))
                requests = status["details"]["requests"]
                if requests and requests[0]["ended_at"]:
                    return status
    raise AssertionError("the stream ended before the run")


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


def test_a_click_made_twice_is_one_request(run: Run) -> None:
    assert re.search(r"202 accepted, request [-0-9a-f]{36}, and asked 2 times it is", run.said)


def test_the_printed_commands_work(run: Run) -> None:
    status, accepted = run.tried
    assert (status, accepted["status"]) == (202, "accepted")
    assert run.end["batch_id"] == accepted["batch_id"]
    assert run.end["status"] == "completed_successfully"
    assert run.end["details"]["requests"][0]["request_id"] == accepted["request_id"]
    assert [(one["name"], one["status"]) for one in run.end["details"]["phases"]] == [
        ("spellcheck", "completed_successfully"),
        ("cj_assessment", "completed_successfully"),
    ]


def test_the_printed_pages_are_there(run: Run) -> None:
    assert run.pages
    assert set(run.pages) == {200}


@pytest.mark.parametrize("title", ["BCS", "API Gateway"])
def test_taken_port_is_named_and_another_one_chosen(run: Run, title: str) -> None:
    port = run.wanted_port if title == "BCS" else run.wanted_gateway_port
    assert f"Port {port} is taken; {title} uses" in run.said
    assert re.search(f"{title} on http://{LOCALHOST}:[0-9]+\n", run.said)
    assert f"{title} on http://{LOCALHOST}:{port}\n" not in run.said


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

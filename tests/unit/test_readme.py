"""What the README says is true."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from batch_conductor_service.config import Settings
from batch_conductor_service.startup_setup import initialize_metrics
from common_core.topics import EventName, topic_name
from common_core.verdicts import Reason

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def described_default(value: object) -> str:
    """Return a default as the table has it."""
    match value:
        case None | "":
            return "(unset)"
        case SecretStr():
            return f"`{value.get_secret_value()}`"
        case bool():
            return f"`{str(value).lower()}`"
        case float():
            return f"`{value:g}`"
        case _:
            return f"`{value}`"


def test_the_table_of_settings_is_the_settings() -> None:
    table = README.split("<!-- settings -->")[1].split("<!-- /settings -->")[0]

    assert table.strip().splitlines()[2:] == [
        f"| `BCS_{name.upper()}` | {described_default(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


def test_every_metric_of_ours_is_in_the_table() -> None:
    registry = CollectorRegistry()
    initialize_metrics(registry)
    families = {family.name: family.type for family in registry.collect()}
    ours = {
        name + ("_total" if kind == "counter" else "")
        for name, kind in families.items()
        if name.startswith("bcs_")
    }

    assert set(re.findall(r"`(bcs_[a-z_]+)`", README)) >= ours


def test_every_reason_and_no_other_is_explained() -> None:
    table = README.split("| reason | verdict |")[1].split("\n\n")[0]

    assert set(re.findall(r"^\| `([a-z_]+)`", table, re.MULTILINE)) == set(Reason)


@pytest.mark.parametrize("event", EventName)
def test_every_event_stands_with_its_topic(event: EventName) -> None:
    assert re.search(rf"`{event}`.*`{re.escape(topic_name(event))}`", README)


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_decision_is_listed() -> None:
    decisions = {f"docs/decisions/{path.name}" for path in (ROOT / "docs/decisions").glob("*.md")}

    assert set(re.findall(r"\]\((docs/decisions/[^)]+)\)", README)) == decisions


def test_every_make_target_exists() -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert named
    assert named <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


def test_the_example_is_json() -> None:
    [example] = re.findall(r"```json\n(.*?)```", README, re.DOTALL)

    assert json.loads(example)["batch_id"] == "batch-1"


def test_every_port_that_the_composition_publishes_of_a_service_is_told() -> None:
    table = README.split("| service | ports of the host | variable |")[1].split("\n\n")[0]
    composition = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    published = re.compile(r"127\.0\.0\.1:\$\{(\w+):-(\d+)(?:-(\d+))?\}:\d+")

    told = re.findall(r"^\| `(\w+)` \| (\d+)(?: to (\d+))? \| `(\w+)` \|$", table, re.MULTILINE)
    for name, first, last, variable in told:
        [port] = composition["services"][name]["ports"]
        assert published.findall(port) == [(variable, first, last)]
    assert {name for name, *_ in told} == {*("gateway", "bos", "bcs", "prometheus", "grafana")}

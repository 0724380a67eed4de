"""What watches over the services asks for what they measure, and for all that the docs say."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

import api_gateway_service.startup_setup as gateway
import batch_conductor_service.startup_setup as bcs
import batch_orchestrator_service.startup_setup as bos

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SERVICES = {"bcs": bcs, "bos": bos, "gateway": gateway}
OF_PROMETHEUS = {"up": {"job", "instance"}}
ADDED_LABELS = {"job", "instance"}
WORDS = {"sum", "max", "min", "by", "rate", "increase", "histogram_quantile", "le"}

Rule = dict[str, Any]
_QUOTED = re.compile(r'"[^"]*"')
_SERIES = re.compile(r"\b([a-z][a-z_]+)(?:\{([^}]*)\})?(?:\[\w+\])?")
_MATCHER = re.compile(r'(\w+)="%s"')


@cache
def families() -> Mapping[str, Mapping[str, set[str]]]:
    """Return the series of all services: the labels of each, with the values that are known."""
    known: dict[str, dict[str, set[str]]] = {}
    for service in SERVICES.values():
        registry = CollectorRegistry()
        metrics = service.initialize_metrics(registry)
        for declared in vars(metrics).values():
            for family in declared.describe() if hasattr(declared, "describe") else ():
                suffix = {"counter": "_total"}.get(family.type, "")
                labels = {name: set[str]() for name in declared._labelnames}
                known[family.name + suffix] = labels
                if family.type == "histogram":
                    known[f"{family.name}_bucket"] = labels | {"le": set()}
        for family in registry.collect():
            for sample in family.samples:
                for name, value in sample.labels.items():
                    known.setdefault(sample.name, {}).setdefault(name, set()).add(value)
                known.setdefault(sample.name, {})
    return known


def rules() -> Iterator[tuple[str, Rule]]:
    """Yield every alert with the service that it is about."""
    for path in sorted((DEPLOY / "alerts").glob("*.yml")):
        [group] = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        assert group["name"] == path.stem
        for rule in group["rules"]:
            yield path.stem, rule


def panels() -> Iterator[tuple[str, str]]:
    """Yield every expression of a panel with the name of both."""
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]


def series_of(expression: str) -> dict[str, list[tuple[str, str]]]:
    """Return the series that an expression asks for, with what it says of their labels."""
    texts = _QUOTED.findall(expression)  # may have braces in them
    masked = _QUOTED.sub('"%s"', re.sub(r"\bby \([^)]*\)", "", expression))
    asked: dict[str, list[tuple[str, str]]] = {}
    for name, matchers in _SERIES.findall(masked):
        if name not in WORDS:
            asked[name] = [(label, texts.pop(0)[1:-1]) for label in _MATCHER.findall(matchers)]
    return asked


EXPRESSIONS = [*((rule["alert"], rule["expr"]) for _, rule in rules()), *panels()]


@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS)
def test_what_is_asked_for_is_measured(name: str, expression: str) -> None:
    """A name or a label that no service has would be silent for ever."""
    asked = series_of(expression)

    assert asked, name
    for series, matchers in asked.items():
        labels = OF_PROMETHEUS.get(series) or families()[series].keys() | ADDED_LABELS
        assert {label for label, _ in matchers} <= labels
        for group in re.findall(r"\bby \(([^)]*)\)", expression):
            assert {label.strip() for label in group.split(",")} <= labels
        for label, value in matchers:
            known = families().get(series, {}).get(label)
            assert not known or value in known, f"{series} has no {label} {value}"


@pytest.mark.parametrize(("service", "rule"), [*rules()], ids=lambda part: str(part)[:20])
def test_an_alert_says_what_is_wrong_and_what_to_do(service: str, rule: Rule) -> None:
    assert rule["alert"].lower().startswith(service)
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["description"].endswith(".")
    for name in re.findall(r"\b(?:bcs|bos|gateway)_[a-z_]+", rule["annotations"]["description"]):
        assert any(series.startswith(name) for series in families())


def test_whatever_the_docs_say_to_alert_on_has_an_alert() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [flow] = re.findall(r"^Alert on (.*)$", (ROOT / "docs" / "flow.md").read_text(), re.MULTILINE)
    rows = re.findall(r"^\|(.*?)\| \*\*alert on", readme, re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    told -= {"bcs_persistence_queue_depth", "bcs_persistence_queue_bytes"}  # the lag says it
    told |= set(re.findall(r"`(bos_[a-z_]+)", flow))

    alerted = {series for _, rule in rules() for series in series_of(rule["expr"])}

    assert len(told) > 5
    assert told <= alerted


@pytest.mark.parametrize("service", ["bos", "gateway"])
def test_whatever_a_service_measures_is_on_a_panel(service: str) -> None:
    shown = {series for _, expression in panels() for series in series_of(expression)}
    measured = {
        name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        for name in families()
        if name.startswith(f"{service}_")
    } - {"gateway_dlq_messages_total"}  # every service has it, and the gateway no dead letters

    assert {name.removesuffix("_bucket") for name in shown} >= measured


def test_panels_stand_in_rows_of_two_and_each_says_what_it_shows() -> None:
    for path in (DEPLOY / "grafana" / "dashboards").glob("*.json"):
        board = json.loads(path.read_text(encoding="utf-8"))
        assert board["uid"] == path.stem
        for number, panel in enumerate(board["panels"]):
            assert panel["description"].endswith(".")
            place = panel["gridPos"]
            assert (place["x"], place["y"]) == (12 * (number % 2), 8 * (number // 2))


def test_what_the_composition_mounts_is_where_it_is_looked_for() -> None:
    composition = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    prometheus = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))
    provided = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/dashboards/services.yml").read_text(encoding="utf-8")
    )
    mounted = {
        target: source
        for service in ("prometheus", "grafana")
        for source, target, *_ in (
            volume.split(":") for volume in composition["services"][service]["volumes"]
        )
    }

    assert mounted["/etc/prometheus/alerts"] == "./deploy/alerts"
    assert prometheus["rule_files"] == ["/etc/prometheus/alerts/*.yml"]
    [provider] = provided["providers"]
    assert mounted[provider["options"]["path"]] == "./deploy/grafana/dashboards"
    assert mounted["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    assert {job["job_name"] for job in prometheus["scrape_configs"]} == set(SERVICES)

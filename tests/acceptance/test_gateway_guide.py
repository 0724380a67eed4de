"""The examples of docs/gateway.md, run as they stand there, and what else can be checked of it."""

import asyncio
import json
import re
import shlex
import shutil
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_gateway_service.config import Settings
from api_gateway_service.middleware import cors_middleware
from api_gateway_service.models.errors import STATUS_BY_ERROR
from common_core.topics import EventName, topic_name
from tests.support.browser.npm import install_packages
from tests.support.gateway.process import gateway_process
from tests.support.gateway.tokens import bearer, token_of
from tests.support.gateway.web import batch, phase, run, served_web
from tests.support.processes import ROOT
from tests.support.topics import ensure_topics

GUIDE = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
CLIENT = ROOT / "examples" / "react-client"
PLACE = "localhost:4001"
MAX_LINES = 120  # two pages


def blocks(kind: str) -> list[str]:
    """Return the examples of a kind."""
    return re.findall(rf"```{kind}\n(.*?)```", GUIDE, re.DOTALL)


def is_part_of(expected: Any, actual: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether all that is expected is there; objects may have more fields."""
    if isinstance(expected, dict):
        return all(is_part_of(value, actual.get(name)) for name, value in expected.items())
    if isinstance(expected, list):
        return len(expected) == len(actual) and all(map(is_part_of, expected, actual))
    return bool(expected == actual)


@pytest.fixture(scope="module")
def address(kafka_bootstrap_servers: str) -> Iterator[str]:
    """A gateway with the batch of the guide: one phase skipped, one at work."""
    topic = topic_name(EventName.CLIENT_BATCH_PIPELINE_REQUEST)
    asyncio.run(ensure_topics(kafka_bootstrap_servers, topic))
    skipped = phase("spellcheck", "skipped_by_user_config", skip_reason="already_completed")
    phases = [skipped, phase("cj_assessment")]
    with (
        served_web() as web,
        gateway_process(
            ENVIRONMENT="development",
            BOS_URL=web.url,
            KAFKA_BOOTSTRAP_SERVERS=kafka_bootstrap_servers,
        ) as (_, address),
    ):
        web.put(batch("batch-1", "teacher", "processing_pipelines", run(phases=phases)))
        yield address


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


@pytest.mark.parametrize("example", blocks("console"))
async def test_every_command_has_its_answer(
    address: str, client: httpx.AsyncClient, example: str
) -> None:
    command, _, answer = example.partition("\n")
    words = shlex.split(command.removeprefix("$ ").replace("$TOKEN", token_of()))
    [url] = [word for word in words if word.startswith(PLACE)]
    headers = dict(after.split(": ", 1) for word, after in pairwise(words) if word == "-H")
    body = words[words.index("-d") + 1] if "-d" in words else None
    url = address + url.removeprefix(PLACE)

    assert words[0] == "curl"
    method = "GET" if body is None else "POST"
    async with client.stream(method, url, headers=headers, content=body) as response:
        if url.endswith("/events"):
            await see_lines(response, answer)
        else:
            assert is_part_of(json.loads(answer), json.loads(await response.aread()))


async def see_lines(response: httpx.Response, expected: str) -> None:
    """See that these lines come, in this order, whatever comes between them."""
    lines = response.aiter_lines()
    for line in expected.splitlines():
        name, _, value = line.partition(": ")
        found = await anext(one async for one in lines if one.startswith(f"{name}: "))
        given = found.partition(": ")[2]
        assert (
            is_part_of(json.loads(value), json.loads(given)) if name == "data" else given == value
        )


def test_the_typescript_runs_and_typescript_finds_no_fault(address: str, tmp_path: Path) -> None:
    script = install_packages()
    [example] = blocks("ts")
    for path in (*CLIENT.glob("*.ts"), CLIENT / "tsconfig.json"):
        shutil.copy(path, tmp_path)
    (tmp_path / "node_modules").symlink_to(CLIENT / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}', "utf-8")
    shown = example.replace(f"http://{PLACE}", address).replace('"TOKEN"', f'"{token_of()}"')
    # The example goes on until the batch is done; this one never will be.
    ended = shown.replace('status !== "processing"', 'status === "processing"')
    assert len({example, shown, ended}) == 3
    (tmp_path / "guide.ts").write_text(ended, "utf-8")

    script.run(CLIENT / "node_modules" / ".bin" / "tsc", cwd=tmp_path)
    printed = script.run("node", tmp_path / "compiled" / "guide.js", cwd=tmp_path)

    assert printed.splitlines() == [
        "accepted batch-1",
        "spellcheck already_completed",
        "cj_assessment dispatch_initiated",
    ]


def test_the_react_example_is_part_of_the_one_that_a_browser_runs() -> None:
    [example] = blocks("tsx")

    assert example in (CLIENT / "example.tsx").read_text("utf-8")


async def test_the_limits_are_those_that_hold(address: str, client: httpx.AsyncClient) -> None:
    """In the table, and as the headers have them."""
    fields = Settings.model_fields
    per_minute = {
        "pipelines": fields["rate_limit_pipelines_per_minute"].default,
        "status": fields["rate_limit_status_per_minute"].default,
        "events": fields["rate_limit_requests"].default,
    }
    for route, amount in per_minute.items():
        assert re.search(rf"/{route}` .*\b{amount} a minute", GUIDE)
    [shown] = re.findall(r"`RateLimit: (.*?)`", GUIDE)
    asked = await client.post(
        f"{address}/v1/batches/batch-1/pipelines",
        json={"requested_pipeline": "nlp"},
        headers=bearer("somebody-new"),
    )
    assert asked.headers["RateLimit"] == shown


def test_every_status_of_an_error_has_its_line() -> None:
    named = {int(status) for status in re.findall(r"\b(4\d\d|500|503)\b(?=[^|\n]*\|)", GUIDE)}

    assert named == {status.value for status in STATUS_BY_ERROR.values()} | {405, 500}


def test_the_headers_are_those_that_a_page_may_use() -> None:
    reads, sends = re.findall(r"A page can read (.*?), and may send (.*?)\.\n", GUIDE)[0]

    assert set(re.findall(r"`([\w-]+)`", reads)) == set(cors_middleware.EXPOSED_HEADERS)
    assert set(re.findall(r"`([\w-]+)`", sends)) == set(cors_middleware.REQUEST_HEADERS)


def test_it_is_short_and_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", GUIDE)

    assert len(GUIDE.splitlines()) <= MAX_LINES
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []

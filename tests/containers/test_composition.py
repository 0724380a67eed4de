"""The images and the composition, end to end from outside. Run by `make containers`."""

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from uuid import uuid4

import pytest
import yaml
from rich.console import Console

from local_stack.asking import ServiceClient
from local_stack.flow_neighbours import FlowNeighbours
from local_stack.flow_story import FlowStory
from local_stack.neighbours import Neighbours
from local_stack.story import Story
from local_stack.tokens import make_token
from tests.support.composition import ROOT, Composition
from tests.support.servers import ping_kafka, wait_until_ready

READY_SECONDS = 90
LOOKS_IN_A_ROW = 10  # half a second apart
SERVICES = ("bcs", "bos", "gateway")
NOT_PUBLISHED = ("null", "{}", '{"6379/tcp":null}')


@pytest.fixture(scope="module")
def composition() -> Iterator[Composition]:
    composition = Composition()
    composition.down()  # of what an interrupted run left
    try:
        composition.up()
        yield composition
    except BaseException:
        sys.stderr.write(composition.logs())
        raise
    finally:
        composition.down()
        assert composition.volumes() == []


@pytest.fixture(scope="module")
def first_logs(composition: Composition) -> dict[str, list[str]]:
    """What each service logged until the first start was healthy."""
    client = ServiceClient(composition.url)
    wait_until_service_is_ready(client)
    wait_until_kafka_answers(composition.bootstrap_servers)
    asyncio.run(Neighbours.create_topics(composition.bootstrap_servers))
    wait_until_healthy(client)
    names = (*SERVICES, "migration", "postgres", "redis", "redis-gateway")
    return {name: composition.log_of(name) for name in names}


@pytest.fixture
def service(composition: Composition) -> ServiceClient:
    client = ServiceClient(composition.url)
    wait_until_service_is_ready(client)
    return client


async def tell_story(composition: Composition, address: str | None = None) -> Story:
    """Drive a new batch from its registration to the skip event; each answer is checked."""
    await asyncio.to_thread(wait_until_kafka_answers, composition.bootstrap_servers)
    await Neighbours.create_topics(composition.bootstrap_servers)
    client = ServiceClient(address or composition.url)
    async with Neighbours(composition.bootstrap_servers) as neighbours:
        story = Story(Console(file=sys.stdout), neighbours, client)
        await story.tell()
        return story


async def tell_flow(composition: Composition, *, gateway_health: str = "healthy") -> None:
    """Drive a new batch of a new teacher from his click to the end of its run, twice."""
    await asyncio.to_thread(wait_until_kafka_answers, composition.bootstrap_servers)
    await Neighbours.create_topics(composition.bootstrap_servers)
    for address in (composition.url, composition.orchestrator_url):
        await asyncio.to_thread(wait_until_healthy, ServiceClient(address))
    teacher = f"teacher-{uuid4().hex}"
    token = make_token(composition.secret, teacher)
    gateway = ServiceClient(composition.gateway_url, token=token)
    await asyncio.to_thread(wait_until_healthy, gateway, health=gateway_health)
    async with FlowNeighbours(composition.bootstrap_servers) as neighbours:
        await FlowStory(Console(file=sys.stdout), neighbours, gateway, teacher).tell()


def wait_until_kafka_answers(bootstrap_servers: str) -> None:
    wait_until_ready(lambda: ping_kafka(bootstrap_servers))


def wait_until_service_is_ready(client: ServiceClient) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not client.is_ready():
        assert time.monotonic() < deadline, "the service did not become ready"
        time.sleep(0.5)


def wait_until_healthy(client: ServiceClient, *, health: str = "healthy") -> None:
    """Return when the service sees everything up, for longer than it takes to notice a loss."""
    wait_until_service_is_ready(client)
    deadline = time.monotonic() + READY_SECONDS
    seen = 0
    while seen < LOOKS_IN_A_ROW:
        status, shown = client.get("/healthz")
        seen = seen + 1 if (status, shown["status"]) == (HTTPStatus.OK, health) else 0
        assert time.monotonic() < deadline, f"the service did not become {health}: {shown}"
        time.sleep(0.5)


def test_a_first_start_logs_no_error(first_logs: dict[str, list[str]]) -> None:
    """The first test of all: what the others do to the servers is told by their logs."""
    for service in SERVICES:
        told = [json.loads(line) for line in first_logs[service] if line.startswith("{")]
        of_ours = [line for line in told if not line.get("logger", "").startswith("aiokafka")]
        assert "serving" in {line["event"] for line in told}
        assert [line for line in of_ours if line["level"] in {"error", "critical"}] == []
    assert first_logs["migration"][-1] == "The database has the newest schema."
    for server in ("postgres", "redis", "redis-gateway"):
        bad = [line for line in first_logs[server] if re.search("ERROR|FATAL|PANIC|# Err", line)]
        assert bad == []


async def test_main_job_from_outside(composition: Composition, service: ServiceClient) -> None:
    await tell_story(composition)

    wait_until_healthy(service)


@pytest.mark.parametrize(
    "killed", [None, "gateway", "redis-gateway", "bos", "bcs", "postgres", "kafka"]
)
@pytest.mark.usefixtures("service")
async def test_a_click_becomes_phases_and_its_end(
    killed: str | None, composition: Composition
) -> None:
    if killed:
        composition.kill(killed)

    await tell_flow(composition)


@pytest.mark.usefixtures("service")
async def test_clicks_are_taken_without_the_gateway_s_redis(composition: Composition) -> None:
    composition.stop("redis-gateway")

    await tell_flow(composition, gateway_health="degraded")

    composition.start("redis-gateway")
    await asyncio.to_thread(wait_until_healthy, ServiceClient(composition.gateway_url))


@pytest.mark.usefixtures("service")
def test_what_callers_fill_is_small_and_holds_nothing_of_bcs(composition: Composition) -> None:
    asking = ("redis-cli", "config", "get", "maxmemory*")
    told = composition.execute("redis-gateway", *asking).split()

    assert told[told.index("maxmemory-policy") + 1] == "allkeys-lru"
    assert 0 < int(told[told.index("maxmemory") + 1]) <= 64 * 1024**2
    assert composition.inspect("redis-gateway", "{{json .NetworkSettings.Ports}}") in NOT_PUBLISHED


@pytest.mark.usefixtures("service")
def test_prometheus_scrapes_every_service(composition: Composition) -> None:
    prometheus = ServiceClient(composition.prometheus_url)
    deadline = time.monotonic() + READY_SECONDS
    seen: dict[str, str] = {}
    while seen != dict.fromkeys(SERVICES, "up"):
        assert time.monotonic() < deadline, f"not all services are scraped: {seen}"
        time.sleep(1)
        try:
            _, answer = prometheus.get("/api/v1/targets?state=active")
        except OSError:  # it is starting
            continue
        targets = answer["data"]["activeTargets"]
        seen = {target["labels"]["job"]: target["health"] for target in targets}


@pytest.mark.usefixtures("service")
def test_prometheus_takes_every_alert(composition: Composition) -> None:
    written = {
        rule["alert"]
        for path in (ROOT / "deploy" / "alerts").glob("*.yml")
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    }
    prometheus = ServiceClient(composition.prometheus_url)
    deadline = time.monotonic() + READY_SECONDS
    health: dict[str, str] = {}
    while health != dict.fromkeys(written, "ok"):
        assert time.monotonic() < deadline, f"not every alert is evaluated: {health}"
        time.sleep(1)
        with suppress(OSError):  # it is starting
            _, answer = prometheus.get("/api/v1/rules?type=alert")
            groups = answer["data"]["groups"]
            health = {rule["name"]: rule["health"] for one in groups for rule in one["rules"]}


async def test_two_replicas_run_side_by_side(
    composition: Composition, service: ServiceClient
) -> None:
    earlier = await tell_story(composition)

    addresses = composition.scale(2)

    assert len(set(addresses)) == 2
    for address in addresses:
        wait_until_healthy(ServiceClient(address))
        await tell_story(composition, address)
    composition.up()
    wait_until_healthy(service)
    await earlier.ask(expected=["cj_assessment"])


@pytest.mark.usefixtures("service")
def test_two_gateways_count_a_user_s_clicks_together(composition: Composition) -> None:
    addresses = composition.scale(2, "gateway")
    token = make_token(composition.secret, f"teacher-{uuid4().hex}")
    clients = [ServiceClient(address, token=token) for address in addresses]
    for client in clients:
        wait_until_service_is_ready(client)

    body = {"requested_pipeline": "nlp"}
    path = "/v1/batches/nobody-s/pipelines"
    statuses = [clients[number % 2].post(path, body)[0] for number in range(8)]

    assert statuses == [HTTPStatus.NOT_FOUND] * 5 + [HTTPStatus.TOO_MANY_REQUESTS] * 3
    composition.up()


@pytest.mark.parametrize("dependency", ["redis", "postgres", "kafka", "bcs"])
async def test_service_recovers_when_one_is_restarted(
    dependency: str, composition: Composition, service: ServiceClient
) -> None:
    earlier = await tell_story(composition)

    composition.restart(dependency)

    wait_until_healthy(service)
    await earlier.ask(expected=["cj_assessment"])
    await tell_story(composition)


@pytest.mark.parametrize("dependency", ["redis", "postgres", "kafka", "bcs"])
async def test_service_recovers_when_one_is_killed(
    dependency: str, composition: Composition, service: ServiceClient
) -> None:
    earlier = await tell_story(composition)

    composition.kill(dependency)

    wait_until_healthy(service)
    await earlier.ask(expected=["cj_assessment"])
    await tell_story(composition)


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.usefixtures("service")
def test_container_runs_as_nobody_in_particular_and_is_healthy(
    name: str, composition: Composition
) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while composition.inspect(name, "{{.State.Health.Status}}") != "healthy":
        assert time.monotonic() < deadline
        time.sleep(1)
    assert composition.inspect(name, "{{.Config.User}}") == "10001:10001"


@pytest.mark.parametrize("migration", ["migration", "bos-migration"])
@pytest.mark.usefixtures("service")
def test_migration_has_ended(migration: str, composition: Composition) -> None:
    assert composition.inspect(migration, "{{.State.ExitCode}}") == "0"


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.usefixtures("service")
def test_stopped_service_ends_cleanly(name: str, composition: Composition) -> None:
    composition.stop(name)

    assert composition.inspect(name, "{{.State.ExitCode}} {{.State.OOMKilled}}") == "0 false"
    composition.start(name)

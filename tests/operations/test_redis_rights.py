"""The whole service with a Redis user of the documented rights, and with one right less."""

import io
import signal

import httpx
from redis.asyncio import Redis
from rich.console import Console

from batch_conductor_service.implementations.redis.rights import COMMANDS
from local_stack.asking import ServiceClient
from local_stack.neighbours import Neighbours
from local_stack.story import Story
from tests.support.processes import ServiceProcess
from tests.support.redis_users import change_rights, documented_rights, make_user
from tests.support.stack import Stack
from tests.support.waiting import eventually

# What makes and holds a connection or a transaction, and the look at the server's configuration.
AROUND_COMMANDS = {
    *("acl", "auth", "client", "hello", "ping", "select", "config"),
    *("watch", "unwatch", "multi", "exec", "discard"),
}
# A URL as another service may have it, too.
SHARED_OPTIONS = "?protocol=3&decode_responses=true&legacy_responses=false&ssl_cert_reqs=none"

TAKEN_AWAY = {
    ("-info",): "Redis refuses INFO: its user lacks the right to it, +info.",
    ("-xadd",): "Redis refuses XADD: its user lacks the right to it, +xadd.",
    ("resetkeys", "~bcs:*"): (
        "Redis refuses a key to WATCH: its user lacks the right to it, ~bcs:* and ~batch:*."
    ),
}


async def do_whole_job(stack: Stack, address: str) -> None:
    """Tell a batch's story, from its registration to the skip event; each answer is checked."""
    async with Neighbours(stack.kafka_bootstrap_servers) as neighbours:
        story = Story(Console(file=io.StringIO()), neighbours, ServiceClient(address))
        await story.tell()


async def wait_until_persisted(client: httpx.AsyncClient) -> None:
    async def is_healthy_and_done() -> bool:
        metrics = (await client.get("/metrics")).text.splitlines()
        is_empty = "bcs_persistence_queue_depth 0.0" in metrics
        health = (await client.get("/healthz")).json()
        return is_empty and bool(health["status"] == "healthy")

    await eventually(is_healthy_and_done, timeout_seconds=30, what="the end of the work")


def end(process: ServiceProcess) -> list[str]:
    """End the service in order, and return what it logged as an error."""
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    return [line["event"] for line in process.log if line["level"] in {"error", "critical"}]


async def test_the_documented_rights_are_all_that_the_service_needs(stack: Stack) -> None:
    await Neighbours.create_topics(stack.kafka_bootstrap_servers)
    url = await make_user(stack.redis.url)

    with stack.serve(REDIS_URL=url + SHARED_OPTIONS) as (process, address):
        async with httpx.AsyncClient(base_url=address) as client:
            await do_whole_job(stack, address)
            await wait_until_persisted(client)
        errors = end(process)

    assert errors == []
    [passed_over] = [e["options"] for e in process.log if e["event"] == "url_options_passed_over"]
    assert passed_over == ["decode_responses", "legacy_responses", "protocol", "ssl_cert_reqs"]
    async with Redis.from_url(stack.redis.url) as redis:
        names = [name.removeprefix("cmdstat_") for name in await redis.info("commandstats")]
    rehearsed = {str(command[0]).lower() for command in COMMANDS}
    used = {name.partition("|")[0] for name in names}
    assert used - rehearsed - AROUND_COMMANDS == set(), "the rehearsal lacks them"


async def test_a_right_that_is_taken_away_is_named_by_health_and_log(stack: Stack) -> None:
    await Neighbours.create_topics(stack.kafka_bootstrap_servers)
    url = await make_user(stack.redis.url)

    with stack.serve(REDIS_URL=url) as (process, address):
        async with httpx.AsyncClient(base_url=address) as client:
            await do_whole_job(stack, address)
            for change, reason in TAKEN_AWAY.items():
                await change_rights(stack.redis.url, *change)
                await wait_until_named(client, reason)
                await change_rights(stack.redis.url, "reset", *documented_rights())
                await wait_until_persisted(client)
            await do_whole_job(stack, address)
        end(process)

    changes = [line for line in process.log if line["event"] == "dependency_changed"]
    logged = [e["reason"] for e in changes if (e["dependency"], e["status"]) == ("redis", "down")]
    assert logged == list(TAKEN_AWAY.values())


async def wait_until_named(client: httpx.AsyncClient, reason: str) -> None:
    async def is_named() -> bool:
        health = (await client.get("/healthz")).json()
        is_said = health["dependencies"]["redis"] == {"status": "down", "message": reason}
        return is_said and bool(health["status"] == "degraded")

    await eventually(is_named, what=reason)

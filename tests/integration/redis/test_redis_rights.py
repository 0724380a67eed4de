"""What Redis does not let its user do is named: the command, and the right that is missing."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.rights import COMMANDS
from local_stack.ports import find_free_port
from local_stack.valkey import ValkeyServer
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import RedisPolicy, connect, execute, translated
from service_libs.redis.health import RedisProbe
from tests.support.redis_users import PASSWORD, make_user, run_command
from tests.support.repositories import redis_probe

POLICY = RedisPolicy(timeout_seconds=2)


@asynccontextmanager
async def probing(url: str) -> AsyncIterator[RedisProbe]:
    probe = redis_probe(url, POLICY)
    try:
        yield probe
    finally:
        await probe.close()


async def refusal(url: str) -> str:
    """Return what the probe says of the server."""
    async with probing(url) as probe:
        with pytest.raises(StoreUnavailableError) as refused:
            await probe.ping()
    return str(refused.value)


async def test_the_documented_rights_are_enough(redis_url: str) -> None:
    async with probing(await make_user(redis_url)) as probe:
        await probe.ping()


async def test_the_rehearsal_does_nothing(redis_url: str) -> None:
    async with probing(redis_url) as probe, Redis.from_url(redis_url) as redis:
        await probe.ping()
        await probe.ping()

        assert await redis.dbsize() == 0


@pytest.mark.parametrize(
    "command", sorted({str(command[0]) for command in COMMANDS} | {"WATCH", "MULTI"})
)
async def test_a_command_that_is_refused_is_named_with_its_right(
    command: str, redis_url: str
) -> None:
    name = command.lower()

    told = await refusal(await make_user(redis_url, f"-{name}"))

    named = f"{command} " if command in {"XGROUP", "XINFO", "SCRIPT"} else f"{command}: "
    assert told.startswith(f"Redis refuses {named}")
    assert f"its user lacks the right to it, +{name}" in told


@pytest.mark.parametrize(
    ("patterns", "command"), [(["~bcs:*"], "WATCH"), (["~batch:*"], "WATCH"), ([], "WATCH")]
)
async def test_a_key_that_is_refused_is_named_with_its_patterns(
    patterns: list[str], command: str, redis_url: str
) -> None:
    told = await refusal(await make_user(redis_url, "resetkeys", *patterns))

    assert told == (
        f"Redis refuses a key to {command}: its user lacks the right to it, ~bcs:* and ~batch:*."
    )


async def test_a_right_to_read_only_is_not_enough(redis_url: str) -> None:
    told = await refusal(await make_user(redis_url, "resetkeys", "%R~bcs:*", "%R~batch:*"))

    assert told.startswith("Redis refuses a key to SET: ")


async def test_a_wrong_password_is_told_without_it(redis_url: str) -> None:
    url = await make_user(redis_url)

    told = await refusal(url.replace(PASSWORD, "another"))

    assert told == "Redis refuses the user or the password of BCS_REDIS_URL."


SCRIPT = "return redis.call('XADD', KEYS[1], '*', 's3cret', 's3cret')"


async def evaluate(client: Redis, key: str) -> None:
    async with translated(keys.NAMES):
        await client.register_script(SCRIPT)(keys=[key])


async def set_in_a_transaction(client: Redis, key: str) -> None:
    async with translated(keys.NAMES), client.pipeline(transaction=True) as pipe:
        await execute(pipe, [("SET", key, "s3cret")])


@pytest.mark.parametrize(
    ("run", "changes", "told"),
    [
        (evaluate, ["-xadd"], r"Redis refuses (XADD|a command of a script): .* to it(, \+xadd)?\."),
        (evaluate, ["-evalsha"], r"Redis refuses EVALSHA: .* right to it, \+evalsha\."),
        (evaluate, ["resetkeys"], r"Redis refuses a key to a command: .*, ~bcs:\* and ~batch:\*\."),
        (set_in_a_transaction, ["-set"], r"Redis refuses SET: .* right to it, \+set\."),
        (set_in_a_transaction, ["resetkeys"], r"Redis refuses a key to SET: .*, ~bcs:\* and .*"),
    ],
)
async def test_whatever_is_refused_while_it_works_is_named_without_its_values(
    run: Callable[[Redis, str], Awaitable[None]], changes: list[str], told: str, redis_url: str
) -> None:
    client = connect(await make_user(redis_url, *changes), POLICY, keys.NAMES)

    with pytest.raises(StoreUnavailableError) as refused:
        await run(client, "bcs:s3cret")
    await client.aclose()

    assert re.fullmatch(told, str(refused.value))
    assert "s3cret" not in str(refused.value)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server in cluster mode, which has no slots yet."""
    server = ValkeyServer(
        tmp_path / "cluster",
        options=(*("--cluster-enabled", "yes"), *("--cluster-port", str(find_free_port()))),
    )
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("has_slots", [True, False])
async def test_cluster_mode_is_named(cluster: ValkeyServer, *, has_slots: bool) -> None:
    if has_slots:
        await run_command(cluster.url, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")

    told = await refusal(cluster.url)

    assert told == ("Redis runs in cluster mode and refuses WATCH: BCS needs a single primary.")

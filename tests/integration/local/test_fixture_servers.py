"""The servers that the other tests stand on."""

import asyncpg
from redis.asyncio import Redis

from local_stack.postgres import PostgresServer
from local_stack.valkey import ValkeyServer
from tests.support.servers import ping_kafka, plain_url


async def test_redis_is_empty_for_each_test(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0


async def test_database_of_a_test_is_empty(database_url: str) -> None:
    connection = await asyncpg.connect(plain_url(database_url))

    tables = await connection.fetch("SELECT * FROM pg_tables WHERE schemaname = 'public'")

    await connection.close()
    assert tables == []


async def test_kafka_answers(kafka_bootstrap_servers: str) -> None:
    await ping_kafka(kafka_bootstrap_servers)


async def test_redis_keeps_what_it_acknowledged_when_it_is_killed(own_redis: ValkeyServer) -> None:
    async with Redis.from_url(own_redis.url) as client:
        await client.set("key", "value")

    own_redis.kill()
    own_redis.start()

    async with Redis.from_url(own_redis.url) as client:
        assert await client.get("key") == b"value"


async def test_redis_refuses_to_evict(own_redis: ValkeyServer) -> None:
    async with Redis.from_url(own_redis.url) as client:
        policy = await client.config_get("maxmemory-policy")

    assert policy == {"maxmemory-policy": "noeviction"}


async def test_postgres_keeps_what_it_committed_when_it_is_killed(
    own_postgres: PostgresServer,
) -> None:
    connection = await asyncpg.connect(plain_url(own_postgres.url))
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    connection.terminate()

    own_postgres.kill()
    own_postgres.start()

    connection = await asyncpg.connect(plain_url(own_postgres.url))
    assert await connection.fetchval("SELECT number FROM kept") == 7
    await connection.close()

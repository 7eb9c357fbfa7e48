"""Databases of the PostgreSQL server that all tests of a process share."""

import asyncio

import asyncpg
from redis.asyncio import Redis

from app.embedded.servers import EmbeddedServers
from storage.keys import Keys


async def mark_whole(redis: "Redis", keys: Keys) -> None:
    """Mark every bucket as whole on this server, as a worker does that has found that nothing is lost."""
    run_id = (await redis.info("server"))["run_id"]
    for bucket in range(keys.buckets):
        await redis.set(keys.whole(bucket), run_id)


def database_url(servers: EmbeddedServers, name: str) -> str:
    """The URL of another database of the same PostgreSQL server."""
    address, _, options = servers.urls.postgres_url.partition("?")
    return f"{address.rpartition('/')[0]}/{name}?{options}"


def execute(servers: EmbeddedServers, statement: str) -> None:
    """Run one SQL statement in the server's own database."""

    async def run() -> None:
        connection = await asyncpg.connect(servers.urls.postgres_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())

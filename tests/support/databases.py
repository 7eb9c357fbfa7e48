"""Databases of the PostgreSQL server that all tests of a process share."""

import asyncio

import asyncpg

from app.embedded import EmbeddedServers


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

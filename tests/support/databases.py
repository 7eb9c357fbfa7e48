"""Servers for tests, which start in a moment, and databases in them."""

import asyncio
import atexit
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

import migrations
from app.embedded.postgres import DATABASE
from app.embedded.servers import EmbeddedServers
from app.embedded.valkey import Appendfsync
from storage.keys import Keys
from tests.support.folders import open_folder

TEMPLATE = "nb_template"
"""A database with the present schema, to be copied; nobody is connected to it."""


@contextmanager
def running_servers(appendfsync: Appendfsync = "everysec") -> Iterator[EmbeddedServers]:
    """Running servers of their own, whose database, and the one called `TEMPLATE`, the project's migrations have built.

    Without ``fsync``: what is written outlives processes that are killed, and no test takes the power away.
    """
    folder = open_folder()
    try:
        # With owners, since the server's user is another one where tests run as root.
        subprocess.run(["cp", "-a", _prepared() / "postgres", folder], check=True)
        servers = EmbeddedServers(folder, appendfsync=appendfsync, fsync=False)
        servers.start()
        try:
            yield servers
        finally:
            servers.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _prepared() -> Path:
    """Make the folder that all servers of this process begin as copies of: it takes a while, so it is done once."""
    folder = open_folder()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    servers = EmbeddedServers(folder, fsync=False)
    migrations.upgrade(servers.start().postgres_url)
    execute(servers, f"CREATE DATABASE {TEMPLATE} TEMPLATE {DATABASE}", "postgres")
    servers.stop()
    return folder


async def mark_whole(redis: "Redis", keys: Keys) -> None:
    """Mark every bucket as whole on this server, as a worker does that has found that nothing is lost."""
    run_id = (await redis.info("server"))["run_id"]
    for bucket in range(keys.buckets):
        await redis.set(keys.whole(bucket), run_id)


def database_url(servers: EmbeddedServers, name: str) -> str:
    """The URL of another database of the same PostgreSQL server."""
    address, _, options = servers.urls.postgres_url.partition("?")
    return f"{address.rpartition('/')[0]}/{name}?{options}"


def execute(servers: EmbeddedServers, statement: str, database: str = DATABASE) -> None:
    """Run one SQL statement, by default in the server's own database."""

    async def run() -> None:
        connection = await asyncpg.connect(database_url(servers, database))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())

"""The embedded PostgreSQL: restarts, folders of any depth, and data of other versions."""

import shutil
import stat
from pathlib import Path

import asyncpg
import pytest

from app.embedded.process import EmbeddedServersError
from app.embedded.servers import EmbeddedServers


async def test_postgres_restarts_with_all_that_was_committed(folder: Path) -> None:
    servers = EmbeddedServers(folder, fsync=False)
    url = servers.start().postgres_url
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    servers.restart_postgres("immediate")
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.execute("SELECT 1")
    connection = await asyncpg.connect(url)
    await connection.execute("INSERT INTO kept VALUES (2)")
    await connection.close()
    servers.restart_postgres("fast")
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT sum(n) FROM kept") == 3
    await connection.close()
    servers.stop()


def test_a_deep_folder_is_no_obstacle(folder: Path) -> None:
    deep = folder / ("a-folder-with-a-long-name-" * 3) / ("and-one-more-below-" * 4)
    with EmbeddedServers(deep, fsync=False) as urls:
        socket = Path(urls.postgres_url.partition("host=")[2].partition("&")[0])
        assert not socket.is_relative_to(deep)
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    shutil.rmtree(socket)


def test_data_of_another_major_version_are_refused_with_words(folder: Path) -> None:
    with EmbeddedServers(folder, fsync=False):
        pass
    version = folder / "postgres/data/PG_VERSION"
    kept = version.read_text()
    version.write_text("15\n")
    with pytest.raises(EmbeddedServersError, match="was made by PostgreSQL 15"):
        EmbeddedServers(folder, fsync=False).start()
    version.write_text(kept)


def test_closed_folders_above_the_data_stay_closed(folder: Path) -> None:
    """Also for root, who runs PostgreSQL as somebody else."""
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    servers = EmbeddedServers(closed / "data", fsync=False)
    servers.start()
    try:
        assert servers.urls.postgres_url.startswith("postgresql://")
    finally:
        servers.stop()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700

"""Installations for the tests of the whole system."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import migrations
from app.embedded import EmbeddedServers
from tests.e2e.support import Installation, installed


@pytest.fixture(scope="module")
def installation(
    postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """This module's installation on the servers that all tests share; nothing runs in it yet."""
    with installed(postgres_url, redis_url, tmp_path_factory.mktemp("installation")) as ours:
        yield ours


@pytest.fixture
def own_servers() -> Iterator[EmbeddedServers]:
    """Migrated servers of one test, which may stop, kill and wipe them.

    Redis writes with ``appendfsync always``: an acknowledgement survives SIGKILL. ``everysec`` does not promise that,
    not even for the process alone, because on a busy disk it may put off a write by up to two seconds.
    """
    folder = Path(tempfile.mkdtemp(prefix="nextbest-"))
    servers = EmbeddedServers(folder, appendfsync="always", fsync=False)
    try:
        migrations.upgrade(servers.start().postgres_url)
        yield servers
    finally:
        servers.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_installation(own_servers: EmbeddedServers, tmp_path: Path) -> Iterator[Installation]:
    """An installation on servers of its own."""
    with installed(*own_servers.urls, tmp_path) as ours:
        yield ours

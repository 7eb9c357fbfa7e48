"""Installations for the tests of the whole system."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from app.embedded.servers import EmbeddedServers
from tests.support.browser import open_browser
from tests.support.console_world import World, serve_world
from tests.support.installation import Installation, hardy_servers, installed


@pytest.fixture(scope="module")
def installation(
    postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """This module's installation on the servers that all tests share; nothing runs in it yet."""
    with installed(postgres_url, redis_url, tmp_path_factory.mktemp("installation")) as ours:
        yield ours


@pytest.fixture
def own_servers() -> Iterator[EmbeddedServers]:
    """Servers of one test, which may stop, kill and wipe them."""
    with hardy_servers() as servers:
        yield servers


@pytest.fixture
def own_installation(own_servers: EmbeddedServers, tmp_path: Path) -> Iterator[Installation]:
    """An installation on servers of its own."""
    with installed(*own_servers.urls, tmp_path) as ours:
        yield ours


@pytest.fixture(scope="module")
def world(postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The service with the telephone company, and a key of each role."""
    with serve_world(postgres_url, redis_url, tmp_path_factory.mktemp("console")) as found:
        yield found


@pytest.fixture(scope="module")
def browser(world: World) -> Iterator[Browser]:
    """One browser for all tests of a module. Its event loop runs in this thread, so it comes after ``world``."""
    with open_browser() as found:
        yield found

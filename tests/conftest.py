"""Fixtures shared by all tests: real servers, a migrated database for each module, reproducible property tests."""

import itertools
import logging
import os
import shutil
from collections.abc import Iterator

import hypothesis
import pytest
import redis

import migrations
from app.embedded.servers import EmbeddedServers
from tests.support.databases import database_url, execute
from tests.support.folders import open_folder

TEMPLATE = "nb_template"

hypothesis.settings.register_profile("nextbest", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("nextbest")

# Without bytecode, each process that tests start compiles the source again: a fifth of the time that it takes to start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def warnings_are_logged() -> None:
    """Give the root logger its usual level: what an application of an earlier test set outlives that test."""
    logging.getLogger().setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedServers]:
    """Running PostgreSQL and Valkey servers of this test process; their addresses are `servers.urls`."""
    folder = open_folder()
    started = EmbeddedServers(folder, fsync=False)
    started.start()
    yield started
    started.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template_database(servers: EmbeddedServers) -> str:
    """The name of a database that the project's own migrations have built, to be copied."""
    execute(servers, f"CREATE DATABASE {TEMPLATE}")
    migrations.upgrade(database_url(servers, TEMPLATE))
    return TEMPLATE


@pytest.fixture(scope="module")
def postgres_url(servers: EmbeddedServers, template_database: str) -> Iterator[str]:
    """The URL of a migrated and otherwise empty database, for this module alone."""
    name = f"nb_test_{next(_numbers)}"
    execute(servers, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    yield database_url(servers, name)
    execute(servers, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def redis_url(servers: EmbeddedServers) -> str:
    """The URL of an empty Redis database; functions that were loaded before are still there."""
    url = servers.urls.redis_url
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url

"""Fixtures shared by all tests: real servers, a migrated database for each module, reproducible property tests."""

import gc
import itertools
import logging
import os
from collections.abc import Generator, Iterator

import hypothesis
import pytest
import redis

from app.embedded.servers import EmbeddedServers
from tests.support.databases import TEMPLATE, database_url, execute, running_servers

hypothesis.settings.register_profile("nextbest", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("nextbest")

# Without bytecode, each process that tests start compiles the source again: a fifth of the time that it takes to start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_numbers = itertools.count(1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the collector of garbage leave alone what all the modules of tests make, which stays until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def warnings_are_logged() -> None:
    """Give the root logger its usual level: what an application of an earlier test set outlives that test."""
    logging.getLogger().setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedServers]:
    """Running PostgreSQL and Valkey servers of this test process; their addresses are `servers.urls`."""
    with running_servers() as started:
        yield started


@pytest.fixture(scope="module")
def postgres_url(servers: EmbeddedServers) -> Iterator[str]:
    """The URL of a migrated and otherwise empty database, for this module alone."""
    name = f"nb_test_{next(_numbers)}"
    execute(servers, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield database_url(servers, name)
    execute(servers, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def redis_url(servers: EmbeddedServers) -> str:
    """The URL of an empty Redis database; functions that were loaded before are still there."""
    url = servers.urls.redis_url
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url

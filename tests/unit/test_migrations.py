"""Migrations: there, back again, and what the database itself refuses."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

import migrations
from app.embedded import EmbeddedServers
from tests.support.databases import database_url, execute

INSERT = "INSERT INTO catalog_entries (version, kind, id, body, author) VALUES "


@pytest.fixture
def url(servers: EmbeddedServers) -> Iterator[str]:
    """An empty database."""
    execute(servers, "CREATE DATABASE nb_migrations")
    yield database_url(servers, "nb_migrations")
    execute(servers, "DROP DATABASE nb_migrations WITH (FORCE)")


def run(url: str, statement: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(work())


def test_down_to_nothing_and_up_again_with_entries_of_all_kinds(url: str) -> None:
    migrations.upgrade(url)
    run(
        url,
        INSERT + "(1, 'offer', 'a', '{}', 'x'), (2, 'offer', 'a', null, 'x'), (3, 'goal', 'grow', '{}', 'x')",
    )
    migrations.downgrade(url, "0001")
    migrations.upgrade(url)
    migrations.downgrade(url)
    migrations.upgrade(url)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE catalog_entries SET reason = 'another'",
        "DELETE FROM catalog_entries",
        "TRUNCATE catalog_entries",
        "INSERT INTO catalog_entries (version, kind, id, body, author) VALUES (1, 'offer', 'a', '{}', 'y')"
        " ON CONFLICT (version) DO UPDATE SET author = 'y'",
    ],
)
def test_the_audit_trail_only_grows(url: str, statement: str) -> None:
    migrations.upgrade(url)
    run(url, INSERT + "(1, 'offer', 'a', '{}', 'x')")
    with pytest.raises(asyncpg.RestrictViolationError, match="audit trail"):
        run(url, statement)
    run(url, INSERT + "(2, 'offer', 'a', null, 'x')")


@pytest.mark.parametrize(
    "statement",
    ["UPDATE policy_changes SET reason = 'another'", "DELETE FROM policy_changes", "TRUNCATE policy_changes"],
)
def test_who_retired_a_policy_is_not_forgotten(url: str, statement: str) -> None:
    migrations.upgrade(url)
    run(url, "INSERT INTO policies (name, version, spec, author) VALUES ('spring', 1, '{}', 'x')")
    noted = "INSERT INTO policy_changes (name, version, change, author) VALUES ('spring', 1, 'retired', 'x')"
    run(url, noted)
    with pytest.raises(asyncpg.RestrictViolationError, match="audit trail"):
        run(url, statement)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        run(url, "DELETE FROM policies")
    run(url, noted)
    migrations.downgrade(url, "0009")
    migrations.upgrade(url)

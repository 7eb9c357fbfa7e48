"""The database schema, as migrations. ``upgrade`` is run before start, in tests too."""

from collections.abc import Collection, Mapping
from pathlib import Path

from alembic import command, op
from alembic.config import Config
from sqlalchemy import text

LOCK_TIMEOUT = "5s"
"""A migration that cannot get its lock gives up instead of queueing everybody behind it."""


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["url"] = url
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at ``url`` (``postgresql://...``) to ``revision``."""
    command.upgrade(_config(url), revision)


def downgrade(url: str, revision: str = "base") -> None:
    """Take the database at ``url`` back to ``revision``."""
    command.downgrade(_config(url), revision)


_WITHOUT = text("""
SELECT i.inhrelid::regclass::text FROM pg_inherits AS i
WHERE i.inhparent = cast(cast(:table AS text) AS regclass) AND NOT EXISTS (
    SELECT FROM pg_inherits AS a JOIN pg_index AS x ON x.indexrelid = a.inhrelid
    WHERE a.inhparent = cast(cast(:name AS text) AS regclass) AND x.indrelid = i.inhrelid
) ORDER BY 1
""")


def create_concurrently(indexes: Mapping[str, str], replaced: Collection[str] = ()) -> None:
    """Create indexes in a migration while tables are written. ``indexes``: what each is on, by its name.

    ``replaced``: indexes that are dropped once the new ones are there.

    It commits what the migration has done before. If it fails, the migration is done again from its beginning, so each
    of its statements must bear that.
    """
    with op.get_context().autocommit_block():
        # It waits for every transaction that is under way, with a lock that nobody queues behind.
        op.execute("SET lock_timeout = 0")
        for name, what in indexes.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # a failure leaves one that is invalid
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {what}")
        for name in replaced:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")


def create_on_partitions(name: str, table: str, what: str) -> None:
    """Create the index ``name`` of a partitioned table, ``what`` it is of, while the partitions are written.

    It commits, and is done again after a failure, as ``create_concurrently``.
    """
    with op.get_context().autocommit_block():
        # Partitions that are made from here on have it from their beginning.
        op.execute(f"CREATE INDEX IF NOT EXISTS {name} ON ONLY {table} {what}")
        lacking = op.get_bind().scalars(_WITHOUT, {"name": name, "table": table}).all()
    for partition in lacking:
        own = f"{partition}_{name.removeprefix(table + '_')}"
        create_concurrently({own: f"{partition} {what}"})
        with op.get_context().autocommit_block():
            op.execute(f"ALTER INDEX {name} ATTACH PARTITION {own}")

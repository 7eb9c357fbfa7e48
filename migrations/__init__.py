"""The database schema, as migrations. ``upgrade`` is run before start, in tests too."""

from collections.abc import Mapping
from pathlib import Path

from alembic import command, op
from alembic.config import Config

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


def create_concurrently(indexes: Mapping[str, str]) -> None:
    """Create indexes in a migration while tables are written. ``indexes``: what each is on, by its name.

    It commits what the migration has done before. If it fails, the migration is done again from its beginning, so each
    of its statements must bear that.
    """
    with op.get_context().autocommit_block():
        # It waits for every transaction that is under way, with a lock that nobody queues behind.
        op.execute("SET lock_timeout = 0")
        for name, what in indexes.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # a failure leaves one that is invalid
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {what}")
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")

"""Folders that exports have written persons into, and who belongs to a household: erasures ask for both."""

from alembic import op

revision = "0050"
down_revision = "0049"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE export_folders (
            host text NOT NULL, folder text NOT NULL, kind text NOT NULL, author text NOT NULL,
            written_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (host, folder, kind)
        )
        """
    )
    for table in ("customers", "aliases"):
        op.execute(
            f"CREATE INDEX {table}_of_household ON {table} (household_id) WHERE household_id IS NOT NULL"
        )


def downgrade() -> None:
    for table in ("customers", "aliases"):
        op.execute(f"DROP INDEX {table}_of_household")
    op.execute("DROP TABLE export_folders")

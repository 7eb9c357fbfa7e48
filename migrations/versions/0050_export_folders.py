"""Folders that exports have written persons into, and who belongs to a household: erasures ask for both."""

from alembic import op

from migrations import create_concurrently

revision = "0050"
down_revision = "0049"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE IF NOT EXISTS export_folders (
            host text NOT NULL, folder text NOT NULL, kind text NOT NULL, author text NOT NULL,
            written_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (host, folder, kind)
        )
        """
    )
    create_concurrently(
        {
            f"{table}_of_household": f"{table} (household_id) WHERE household_id IS NOT NULL"
            for table in ("customers", "aliases")
        }
    )


def downgrade() -> None:
    for table in ("customers", "aliases"):
        op.execute(f"DROP INDEX {table}_of_household")
    op.execute("DROP TABLE export_folders")

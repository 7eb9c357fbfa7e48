"""The entries of one change of the catalogue share a version."""

from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.execute(
        "ALTER TABLE catalog_entries DROP CONSTRAINT catalog_entries_pkey, ADD PRIMARY KEY (version, kind, id)"
    )


def downgrade() -> None:
    # Refused by Postgres where a change had several entries: earlier versions could not tell its states apart.
    op.execute("ALTER TABLE catalog_entries DROP CONSTRAINT catalog_entries_pkey, ADD PRIMARY KEY (version)")

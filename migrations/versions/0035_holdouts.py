"""Decisions say which hold-outs their customer was in, by which catalogue they were made, and how much they offered."""

from alembic import op

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    op.execute(
        "ALTER TABLE decisions ADD COLUMN holdouts text[], ADD COLUMN catalog_version bigint,"
        " ADD COLUMN offered smallint"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE decisions DROP COLUMN offered, DROP COLUMN catalog_version, DROP COLUMN holdouts")

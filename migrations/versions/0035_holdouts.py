"""Decisions say which hold-outs their customer was in, and by which catalogue they were made."""

from alembic import op

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    op.execute("ALTER TABLE decisions ADD COLUMN holdouts text[], ADD COLUMN catalog_version bigint")


def downgrade() -> None:
    op.execute("ALTER TABLE decisions DROP COLUMN catalog_version, DROP COLUMN holdouts")

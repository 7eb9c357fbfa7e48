"""Entries in suppression lists say which offers they are about, and a reason of the catalogue."""

from alembic import op

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    op.execute("ALTER TABLE suppressions ADD COLUMN scope jsonb, ADD COLUMN reason_id text")


def downgrade() -> None:
    # Without a scope an entry keeps everything from the customer: nobody is contacted who must not be.
    op.execute("ALTER TABLE suppressions DROP COLUMN reason_id, DROP COLUMN scope")

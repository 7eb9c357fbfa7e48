"""Contacts of other systems, and those of merged visitors, say in which household they count."""

from alembic import op

revision = "0048"
down_revision = "0047"


def upgrade() -> None:
    op.execute("ALTER TABLE events ADD household_id text")
    op.execute("ALTER TABLE aliases ADD household_id text")


def downgrade() -> None:
    op.execute("ALTER TABLE aliases DROP household_id")
    op.execute("ALTER TABLE events DROP household_id")

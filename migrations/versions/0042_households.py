"""A customer may belong to a household."""

from alembic import op

revision = "0042"
down_revision = "0041"


def upgrade() -> None:
    op.execute("ALTER TABLE customers ADD household_id text")


def downgrade() -> None:
    op.execute("ALTER TABLE customers DROP household_id")

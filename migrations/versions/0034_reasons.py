"""Outcomes say for what reason they came about, and what they suppress other offers for."""

from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    op.execute("ALTER TABLE outcomes ADD COLUMN reason text, ADD COLUMN causes text")


def downgrade() -> None:
    op.execute("ALTER TABLE outcomes DROP COLUMN causes, DROP COLUMN reason")

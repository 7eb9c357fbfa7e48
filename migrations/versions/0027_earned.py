"""Outcomes say what their offer has earned by then."""

from alembic import op

revision = "0027"
down_revision = "0025"


def upgrade() -> None:
    op.execute("ALTER TABLE outcomes ADD COLUMN earned text")


def downgrade() -> None:
    op.execute("ALTER TABLE outcomes DROP COLUMN earned")

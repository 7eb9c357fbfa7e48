"""The time at which silence was counted for an offer: it is learned when the offer is shown."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute("ALTER TABLE outcomes ADD COLUMN silence_ms bigint")


def downgrade() -> None:
    op.execute("ALTER TABLE outcomes DROP COLUMN silence_ms")

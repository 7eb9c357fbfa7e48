"""An installation has an id, by which it knows its Redis database from another installation's."""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute("ALTER TABLE installation ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid()")


def downgrade() -> None:
    op.execute("ALTER TABLE installation DROP COLUMN id")

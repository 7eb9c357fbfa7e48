"""An installation knows the Redis database that its processes use, so that it is never two."""

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    # redis_id: a mark that goes with the data. redis_run: the run id and number of the database that answered last.
    op.execute(
        "ALTER TABLE installation ADD COLUMN redis_id text, ADD COLUMN redis_run text,"
        " ADD COLUMN redis_seen_at timestamptz"
    )


def downgrade() -> None:
    op.execute(
        "ALTER TABLE installation DROP COLUMN redis_id, DROP COLUMN redis_run, DROP COLUMN redis_seen_at"
    )

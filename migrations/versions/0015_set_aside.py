"""Log entries that cannot be archived, and the times of decisions under callers' own ids."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    # An entry as it stood in its stream: names and values in turn.
    op.execute(
        "CREATE TABLE dead_letters ("
        " bucket smallint NOT NULL, position text NOT NULL, reason text NOT NULL, entry bytea[] NOT NULL,"
        " set_aside_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (bucket, position))"
    )
    # An own id says nothing of its time, without which a look-up would have to search every partition. Those of
    # before are not noted: they are searched for everywhere.
    op.execute(
        "CREATE TABLE own_ids ("
        " decision_id text NOT NULL, decided_at timestamptz NOT NULL, PRIMARY KEY (decision_id, decided_at))"
    )


def downgrade() -> None:
    op.execute("DROP TABLE own_ids")
    op.execute("DROP TABLE dead_letters")

"""Arms as they were at some epochs, so that a replay folds what came after, and not the whole archive.

``arms``: positions and fields; ``moves``: the folds since the checkpoint before, which are taken out of ``folds``. The
index finds outcomes by the time of their place in the log, in whose order they are stored.
"""

from alembic import op

revision = "0018"
down_revision = "0017"

STATEMENTS = (
    """
    CREATE TABLE arm_checkpoints (
        policy text NOT NULL,
        epoch bigint NOT NULL,
        made_at timestamptz NOT NULL DEFAULT now(),
        arms bytea NOT NULL,
        moves bytea NOT NULL,
        PRIMARY KEY (policy, epoch)
    )
    """,
    "CREATE INDEX outcomes_position ON outcomes USING brin ((split_part(position, '-', 1)::bigint))"
    " WITH (autosummarize = on)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX outcomes_position")
    op.execute("DROP TABLE arm_checkpoints")

"""Numbers of generations of arms are given out once: Redis, and what was archived of them, may be lost."""

from alembic import op

revision = "0054"
down_revision = "0053"


def upgrade() -> None:
    # ``generation``: the newest number that was given out for the arms of a policy (``name@version``).
    op.execute(
        "CREATE TABLE IF NOT EXISTS arm_generations (policy text PRIMARY KEY, generation bigint NOT NULL)"
    )


def downgrade() -> None:
    op.execute("DROP TABLE IF EXISTS arm_generations")

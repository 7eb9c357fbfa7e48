"""Pools of capacity, and what it takes to count the use of capacity in the log."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    # Which pools of capacity were ever opened, so that a new one is told from one that Redis has lost.
    op.execute(
        "CREATE TABLE capacity_pools (capacity_id text, period text, ends_ms bigint NOT NULL,"
        " PRIMARY KEY (capacity_id, period))"
    )
    op.execute("CREATE INDEX decisions_capacity ON decisions (decided_at) WHERE header ? 'capacity'")
    op.execute(
        "CREATE INDEX outcomes_released ON outcomes (decided_at) WHERE outcome IN ('withdrawn', 'released')"
    )


def downgrade() -> None:
    op.execute("DROP INDEX outcomes_released")
    op.execute("DROP INDEX decisions_capacity")
    op.execute("DROP TABLE capacity_pools")

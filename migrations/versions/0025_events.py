"""Events of customers, archived."""

from alembic import op

revision = "0025"
down_revision = "0024"

TABLES = """
CREATE TABLE events (
    event_id text NOT NULL,
    customer_id text NOT NULL,
    type text NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_ms bigint NOT NULL,
    properties jsonb NOT NULL,
    contacts text[] NOT NULL,
    bucket smallint NOT NULL,
    position text NOT NULL,
    PRIMARY KEY (customer_id, event_id, occurred_at)
) PARTITION BY RANGE (occurred_at);
CREATE TABLE events_default PARTITION OF events DEFAULT;
CREATE INDEX events_by_time ON events USING brin (occurred_at)
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE events")

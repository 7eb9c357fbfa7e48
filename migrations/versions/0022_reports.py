"""Alerts, with the webhook requests that tell of them; the decisions of a customer are found by an index."""

from alembic import op

revision = "0022"
down_revision = "0021"

UP = (
    """
    CREATE TABLE alerts (
        alert_id text NOT NULL, subject text NOT NULL, watches text NOT NULL,
        state text NOT NULL CHECK (state IN ('firing', 'resolved')),
        since timestamptz NOT NULL DEFAULT now(), looked_at timestamptz NOT NULL DEFAULT now(),
        value double precision, threshold double precision NOT NULL, message text NOT NULL,
        PRIMARY KEY (alert_id, subject)
    )
    """,
    """
    CREATE TABLE alert_deliveries (
        delivery_id text PRIMARY KEY, alert_id text NOT NULL, subject text NOT NULL, body text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(), attempts integer NOT NULL DEFAULT 0,
        next_at timestamptz DEFAULT now(), delivered_at timestamptz, error text
    )
    """,
    # No next time: it was delivered, or given up.
    "CREATE INDEX alert_deliveries_open ON alert_deliveries (next_at) WHERE next_at IS NOT NULL",
    "CREATE INDEX alert_deliveries_newest ON alert_deliveries (alert_id, subject, created_at DESC)",
    "CREATE INDEX decisions_of_customer ON decisions (customer_id)",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX decisions_of_customer")
    op.execute("DROP TABLE alert_deliveries")
    op.execute("DROP TABLE alerts")

"""Triggers: what fired and what became of it, what is waited for, and up to where log and dates were looked through."""

from alembic import op

revision = "0036"
down_revision = "0035"

UP = (
    """
    CREATE TABLE trigger_firings (
        firing_id uuid PRIMARY KEY, trigger_id text NOT NULL, catalogue_version bigint NOT NULL,
        customer_id text NOT NULL, occasion text NOT NULL, cause jsonb NOT NULL,
        fired_at timestamptz NOT NULL, deadline_at timestamptz NOT NULL,
        status text NOT NULL DEFAULT 'due'
            CHECK (status IN ('due', 'decided', 'delivered', 'nothing', 'dropped', 'failed')),
        status_reason text, decision_id text, chosen jsonb, attempts integer NOT NULL DEFAULT 0,
        next_attempt_at timestamptz, updated_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (trigger_id, customer_id, occasion)
    )
    """,
    "CREATE INDEX trigger_firings_open ON trigger_firings (status, next_attempt_at)",
    "CREATE INDEX trigger_firings_of_customer ON trigger_firings (customer_id)",
    "CREATE INDEX trigger_firings_newest ON trigger_firings (fired_at)",
    """
    CREATE TABLE trigger_waits (
        trigger_id text NOT NULL, customer_id text NOT NULL, key text NOT NULL,
        since timestamptz NOT NULL, due_at timestamptz NOT NULL, occasion text NOT NULL, cause jsonb NOT NULL,
        PRIMARY KEY (trigger_id, customer_id, key)
    )
    """,
    "CREATE INDEX trigger_waits_due ON trigger_waits (due_at)",
    "CREATE INDEX trigger_waits_of_customer ON trigger_waits (customer_id)",
    "CREATE INDEX trigger_waits_of_decisions ON trigger_waits (key) WHERE key <> ''",
    "CREATE TABLE trigger_positions (bucket smallint PRIMARY KEY, position text NOT NULL)",
    "CREATE TABLE trigger_scans (trigger_id text PRIMARY KEY, scanned_until timestamptz NOT NULL)",
    # The time of which the archive is still to be read, for new triggers on idle customers.
    """
    CREATE TABLE trigger_seeds (
        trigger_id text PRIMARY KEY, since timestamptz NOT NULL, until timestamptz NOT NULL
    )
    """,
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for table in ("trigger_seeds", "trigger_scans", "trigger_positions", "trigger_waits", "trigger_firings"):
        op.execute(f"DROP TABLE {table}")

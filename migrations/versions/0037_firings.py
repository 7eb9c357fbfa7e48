"""Firings of triggers: found by trigger, and told to who waits for them."""

from alembic import op

revision = "0037"
down_revision = "0036"

UP = (
    """
    CREATE INDEX trigger_firings_open_of_trigger ON trigger_firings (trigger_id, next_attempt_at)
        WHERE status IN ('due', 'decided')
    """,
    # ``began_at`` and ``earlier_attempts``: when it was sent again, and how often it had been tried by then.
    "ALTER TABLE trigger_firings ADD began_at timestamptz, ADD earlier_attempts integer NOT NULL DEFAULT 0",
    """
    CREATE FUNCTION tell_of_firings() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_notify('nextbest_firings', ''); RETURN NULL; END
    $$
    """,
    """
    CREATE TRIGGER trigger_firings_told AFTER INSERT ON trigger_firings
        FOR EACH STATEMENT EXECUTE FUNCTION tell_of_firings()
    """,
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER trigger_firings_told ON trigger_firings")
    op.execute("DROP FUNCTION tell_of_firings")
    op.execute("ALTER TABLE trigger_firings DROP began_at, DROP earlier_attempts")
    op.execute("DROP INDEX trigger_firings_open_of_trigger")

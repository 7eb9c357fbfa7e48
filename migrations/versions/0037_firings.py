"""Firings of triggers: found by trigger, and told to who waits for them."""

from alembic import op

revision = "0037"
down_revision = "0036"

UP = (
    """
    CREATE INDEX trigger_firings_open_of_trigger ON trigger_firings (trigger_id, next_attempt_at)
        WHERE status IN ('due', 'decided')
    """,
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
    op.execute("DROP INDEX trigger_firings_open_of_trigger")

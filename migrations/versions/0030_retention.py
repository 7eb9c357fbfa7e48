"""What retention removed, and up to where in the log outcomes are gone: replays that need these are refused."""

from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.execute("CREATE TABLE dropped_outcomes (bucket smallint PRIMARY KEY, position text NOT NULL)")
    op.execute(
        "CREATE TABLE retention_actions ("
        " action_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, what text NOT NULL, removed text NOT NULL,"
        " before timestamptz NOT NULL, done_at timestamptz NOT NULL DEFAULT now())"
    )


def downgrade() -> None:
    op.execute("DROP TABLE retention_actions")
    op.execute("DROP TABLE dropped_outcomes")

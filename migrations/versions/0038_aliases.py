"""Visitors who turned out to be a customer: under which customer all of theirs counts since."""

from alembic import op

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    op.execute(
        "CREATE TABLE aliases ("
        " alias text PRIMARY KEY,"
        " customer_id text NOT NULL,"
        " author text NOT NULL,"
        " merged_at timestamptz NOT NULL DEFAULT now(),"
        " finished_at timestamptz)"
    )
    op.execute("CREATE INDEX aliases_customer ON aliases (customer_id)")
    op.execute("CREATE INDEX aliases_unfinished ON aliases (merged_at) WHERE finished_at IS NULL")


def downgrade() -> None:
    op.execute("DROP TABLE aliases")

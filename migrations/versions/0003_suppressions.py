"""Suppression lists: who must not be contacted, for example because of a register or an open complaint."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        "CREATE TABLE suppressions ("
        " list_id text NOT NULL,"
        " customer_id text NOT NULL,"
        " reason text NOT NULL,"
        " until timestamptz,"
        " added_at timestamptz NOT NULL DEFAULT now(),"
        " PRIMARY KEY (list_id, customer_id))"
    )
    op.execute("CREATE INDEX suppressions_of_customer ON suppressions (customer_id)")


def downgrade() -> None:
    op.execute("DROP TABLE suppressions")

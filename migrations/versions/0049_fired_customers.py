"""Firings count in reports on hold-outs: for whom, held out from what, where a decision was to be made."""

from alembic import op

revision = "0049"
down_revision = "0048"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE fired_customers (
            fired_at timestamptz NOT NULL, customer_id text NOT NULL, held text[] NOT NULL, version bigint NOT NULL,
            placement text, channel text, decision_id text
        )
        """
    )
    op.execute("CREATE INDEX fired_customers_in_time ON fired_customers USING brin (fired_at)")
    op.execute("CREATE INDEX fired_customers_of_customer ON fired_customers (customer_id)")


def downgrade() -> None:
    op.execute("DROP TABLE fired_customers")

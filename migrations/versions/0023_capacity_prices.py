"""The prices of units of capacities that are kept for value."""

from alembic import op

revision = "0023"
down_revision = "0022"

# The trail of the catalogue only grows, so what is in force is said anew.
WITHOUT_PRICES = """
INSERT INTO catalog_entries (version, kind, id, body, author, reason)
SELECT (SELECT max(version) FROM catalog_entries) + row_number() OVER (ORDER BY id), 'capacity', id,
    body - 'keep_for_value', 'upgrade', 'goes to whoever comes first, as all capacities do'
FROM (SELECT DISTINCT ON (id) id, body FROM catalog_entries WHERE kind = 'capacity' ORDER BY id, version DESC) AS newest
WHERE jsonb_typeof(body) = 'object' AND body ? 'keep_for_value'
"""


def upgrade() -> None:
    op.execute(
        "CREATE INDEX decisions_withheld ON decisions (decided_at) WHERE header -> 'seen' ? 'withheld'"
    )
    op.execute(
        "CREATE TABLE capacity_prices (capacity_id text, at_ms bigint, price double precision NOT NULL,"
        " units_left bigint NOT NULL, PRIMARY KEY (capacity_id, at_ms))"
    )


def downgrade() -> None:
    op.execute("DROP TABLE capacity_prices")
    op.execute("DROP INDEX decisions_withheld")
    op.execute("SELECT pg_advisory_xact_lock(7263845191)")  # the catalogue's: it has one writer at a time
    op.execute(WITHOUT_PRICES)

"""Waits of triggers know under which catalogue they began, and customers are found by the dates that they hold."""

from alembic import op
from sqlalchemy import text

from migrations import create_concurrently

revision = "0043"
down_revision = "0042"

# Of each attribute that holds a date: its name with the date, and with month and day alone, for dates that come yearly;
# with a T behind it if it is a time, whose date may be another one elsewhere.
DATES = """
CREATE OR REPLACE FUNCTION nb_dates(attributes jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg(a.key || ' ' || part || CASE WHEN length(a.value) > 10 THEN 'T' ELSE '' END)
    FROM jsonb_each_text(attributes) AS a
    CROSS JOIN LATERAL (VALUES (left(a.value, 10)), (substr(a.value, 6, 5))) AS parts (part)
    WHERE a.value ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}'
$$
"""
INDEXES = {
    "customers_dates": "customers USING gin (nb_dates(attributes))",
    "trigger_firings_given_up": "trigger_firings (updated_at) WHERE status IN ('failed', 'dropped')",
}


def upgrade() -> None:
    newest = op.get_bind().scalar(text("SELECT coalesce(max(version), 0) FROM catalog_entries"))
    for table in ("trigger_waits", "trigger_scans"):
        op.execute(f"ALTER TABLE {table} ADD IF NOT EXISTS version bigint NOT NULL DEFAULT {newest}")
    op.execute(DATES)
    create_concurrently(INDEXES)


def downgrade() -> None:
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
    op.execute("DROP FUNCTION nb_dates")
    for table in ("trigger_scans", "trigger_waits"):
        op.execute(f"ALTER TABLE {table} DROP version")

"""More kinds of catalogue entries, entries that end a thing, reasons for changes, and logged factors."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE catalog_entries DROP CONSTRAINT catalog_entries_kind_check")
    op.execute("ALTER TABLE catalog_entries ALTER COLUMN body DROP NOT NULL")
    op.execute("ALTER TABLE catalog_entries ADD COLUMN reason text NOT NULL DEFAULT ''")
    # C and V of the candidates (float64, C first) where the request decided them; null where the catalogue tells.
    op.execute("ALTER TABLE decisions ADD COLUMN factors bytea")


def downgrade() -> None:
    op.execute("ALTER TABLE decisions DROP COLUMN factors")
    op.execute("ALTER TABLE catalog_entries DROP COLUMN reason")
    op.execute(
        "DELETE FROM catalog_entries WHERE body IS NULL OR kind NOT IN ('group', 'offer', 'treatment', 'placement')"
    )
    op.execute("ALTER TABLE catalog_entries ALTER COLUMN body SET NOT NULL")
    op.execute(
        "ALTER TABLE catalog_entries ADD CONSTRAINT catalog_entries_kind_check"
        " CHECK (kind IN ('group', 'offer', 'treatment', 'placement'))"
    )

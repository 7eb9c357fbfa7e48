"""Facts that policies learn from; specifications of policies, and how far they have been folded."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # Without a default, adding columns does not rewrite the table.
    op.execute(
        "ALTER TABLE outcomes ADD COLUMN estimate double precision, ADD COLUMN worth double precision,"
        " ADD COLUMN facts jsonb"
    )
    # Specifications are immutable: a change is a new version. Only what became of them is ever updated.
    op.execute(
        "CREATE TABLE policies ("
        " name text NOT NULL, version integer NOT NULL, spec jsonb NOT NULL, author text NOT NULL,"
        " reason text NOT NULL DEFAULT '', created_at timestamptz NOT NULL DEFAULT now(), retired_at timestamptz,"
        " state text NOT NULL DEFAULT 'registered'"
        " CHECK (state IN ('registered', 'folding', 'live', 'failed', 'retired')),"
        " folded bigint NOT NULL DEFAULT 0, total bigint NOT NULL DEFAULT 0,"
        " started_at timestamptz, finished_at timestamptz, error text,"
        " PRIMARY KEY (name, version))"
    )


def downgrade() -> None:
    op.execute("DROP TABLE policies")
    op.execute("ALTER TABLE outcomes DROP COLUMN facts, DROP COLUMN worth, DROP COLUMN estimate")

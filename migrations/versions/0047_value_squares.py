"""The roll-up also sums the squares of what offers brought, and counts the closed offers that this sum covers."""

from alembic import op

revision = "0047"
down_revision = "0046"

# 0 covers nothing: what is closed by then, or by a process of an earlier version, has no known squares.
COLUMNS = {"value_squares_closed": "double precision", "squared_closed": "bigint"}


def upgrade() -> None:
    columns = ", ".join(f"ADD COLUMN {name} {type_} NOT NULL DEFAULT 0" for name, type_ in COLUMNS.items())
    op.execute(f"ALTER TABLE acceptance {columns}")


def downgrade() -> None:
    op.execute("ALTER TABLE acceptance " + ", ".join(f"DROP COLUMN {name}" for name in COLUMNS))

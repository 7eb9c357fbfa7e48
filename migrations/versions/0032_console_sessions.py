"""Sessions of the console: whose key a browser was let in with, and until when."""

from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE console_sessions (
            hash bytea PRIMARY KEY,
            key_id text NOT NULL REFERENCES api_keys ON DELETE CASCADE,
            created_at timestamptz NOT NULL DEFAULT now(),
            ends_at timestamptz NOT NULL
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE console_sessions")

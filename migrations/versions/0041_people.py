"""Sessions of the console may be those of people whom a provider vouched for, without a key."""

from alembic import op

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    op.execute("ALTER TABLE console_sessions ALTER key_id DROP NOT NULL")
    op.execute("ALTER TABLE console_sessions ADD subject text, ADD name text, ADD role text")
    op.execute(
        """
        ALTER TABLE console_sessions ADD CONSTRAINT console_sessions_of_one CHECK (
            (key_id IS NOT NULL AND subject IS NULL)
            OR (key_id IS NULL AND subject IS NOT NULL AND name IS NOT NULL AND role IS NOT NULL))
        """
    )


def downgrade() -> None:
    op.execute("DELETE FROM console_sessions WHERE key_id IS NULL")
    op.execute("ALTER TABLE console_sessions DROP CONSTRAINT console_sessions_of_one")
    op.execute("ALTER TABLE console_sessions DROP subject, DROP name, DROP role")
    op.execute("ALTER TABLE console_sessions ALTER key_id SET NOT NULL")

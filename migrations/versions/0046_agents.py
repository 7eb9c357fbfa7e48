"""Keys of the role ``agent``, notes on customers, and earlier secrets of customers' tokens that are still taken."""

from alembic import op

revision = "0046"
down_revision = "0045"

ROLES = "ALTER TABLE api_keys ADD CONSTRAINT api_keys_role_check CHECK (role IN ({roles}))"


def upgrade() -> None:
    op.execute("ALTER TABLE api_keys DROP CONSTRAINT api_keys_role_check")
    op.execute(ROLES.format(roles="'frontend', 'agent', 'ops', 'scientist', 'admin'"))
    op.execute(
        "CREATE TABLE customer_notes ("
        " note_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,"
        " customer_id text NOT NULL,"
        " text text NOT NULL,"
        " reason text NOT NULL DEFAULT '',"
        " decision_id text,"
        " author text NOT NULL,"
        " author_id text NOT NULL,"
        " written_at timestamptz NOT NULL DEFAULT now())"
    )
    op.execute("CREATE INDEX customer_notes_of_customer ON customer_notes (customer_id, note_id)")
    op.execute("CREATE INDEX customer_notes_by_time ON customer_notes (written_at)")
    # [{"tokens": as in the settings, "ends_at": when they are no longer taken}]
    op.execute("ALTER TABLE publishable_keys ADD earlier_tokens jsonb NOT NULL DEFAULT '[]'")


def downgrade() -> None:
    op.execute("ALTER TABLE publishable_keys DROP earlier_tokens")
    op.execute("DROP TABLE customer_notes")
    # No earlier version knows what such a key may do.
    op.execute("DELETE FROM console_sessions WHERE role = 'agent'")
    op.execute(
        "DELETE FROM console_sessions WHERE key_id IN (SELECT key_id FROM api_keys WHERE role = 'agent')"
    )
    op.execute("DELETE FROM api_keys WHERE role = 'agent'")
    op.execute("ALTER TABLE api_keys DROP CONSTRAINT api_keys_role_check")
    op.execute(ROLES.format(roles="'frontend', 'ops', 'scientist', 'admin'"))

"""Keys that stand in pages and apps: what each of them opens, and how its customers' tokens are checked."""

from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.execute(
        "CREATE TABLE publishable_keys ("
        " key_id text PRIMARY KEY,"
        " name text NOT NULL,"
        " hash bytea NOT NULL UNIQUE,"
        " settings jsonb NOT NULL,"
        " created_at timestamptz NOT NULL DEFAULT now(),"
        " last_used_at timestamptz,"
        " revoked_at timestamptz)"
    )


def downgrade() -> None:
    op.execute("DROP TABLE publishable_keys")

"""The audit trail of retiring and reviving policies. It only grows, as the catalogue's audit trail does."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute(
        "CREATE TABLE policy_changes ("
        " change_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,"
        " name text NOT NULL, version integer NOT NULL,"
        " change text NOT NULL CHECK (change IN ('retired', 'revived')),"
        " author text NOT NULL, reason text NOT NULL DEFAULT '', changed_at timestamptz NOT NULL DEFAULT now(),"
        " FOREIGN KEY (name, version) REFERENCES policies)"
    )
    op.execute("CREATE INDEX policy_changes_of ON policy_changes (name, version)")
    op.execute(
        """
        CREATE FUNCTION policy_changes_only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'policy_changes is an audit trail: % is not possible', TG_OP
                USING ERRCODE = 'restrict_violation', HINT = 'retire or revive the policy once more';
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER policy_changes_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON policy_changes"
        " FOR EACH STATEMENT EXECUTE FUNCTION policy_changes_only_grow()"
    )


def downgrade() -> None:
    op.execute("DROP TABLE policy_changes")
    op.execute("DROP FUNCTION policy_changes_only_grow()")

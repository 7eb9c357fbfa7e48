"""What was done with a person's data, in a trail without ids; customers who were erased, by a keyed hash of the id."""

from alembic import op

revision = "0028"
down_revision = "0027"

UP = (
    # 32 bytes that only this database has: without them nobody can try out ids against the hashes.
    """
    CREATE TABLE privacy_key (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        key bytea NOT NULL DEFAULT decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')
    )
    """,
    "INSERT INTO privacy_key DEFAULT VALUES",
    """
    CREATE FUNCTION nb_subject(customer_id text) RETURNS bytea LANGUAGE sql STABLE AS $$
        SELECT sha256(key || convert_to(customer_id, 'UTF8')) FROM privacy_key
    $$
    """,
    """
    CREATE TABLE privacy_actions (
        action_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, action text NOT NULL, subject bytea NOT NULL,
        author text NOT NULL, reason text NOT NULL, details jsonb NOT NULL DEFAULT '{}',
        done_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX privacy_actions_of_subject ON privacy_actions (subject, action_id)",
    """
    CREATE FUNCTION privacy_actions_only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'privacy_actions is an audit trail: % is not possible', TG_OP
            USING ERRCODE = 'restrict_violation';
    END $$
    """,
    "CREATE TRIGGER privacy_actions_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON privacy_actions"
    " FOR EACH STATEMENT EXECUTE FUNCTION privacy_actions_only_grow()",
    "CREATE TABLE erased_customers (subject bytea PRIMARY KEY, erased_at timestamptz NOT NULL DEFAULT now())",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for table in ("erased_customers", "privacy_actions"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION privacy_actions_only_grow()")
    op.execute("DROP FUNCTION nb_subject(text)")
    op.execute("DROP TABLE privacy_key")

"""Change sets: drafts of changes of the catalogue, what was done with them, and the versions that they became."""

from alembic import op

revision = "0045"
down_revision = "0044"

UP = (
    """
    CREATE TABLE changesets (
        changeset_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        title text NOT NULL, note text NOT NULL, author text NOT NULL, person text NOT NULL,
        base_version bigint NOT NULL, revision integer NOT NULL,
        state text NOT NULL
            CHECK (state IN ('draft', 'submitted', 'approved', 'applied', 'rolled_back', 'rejected', 'withdrawn')),
        inverse_of bigint REFERENCES changesets,
        approved_by text, applied_version bigint, rolled_back_version bigint,
        created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
        CHECK (state <> 'approved' OR approved_by IS NOT NULL),
        CHECK ((state IN ('applied', 'rolled_back')) = (applied_version IS NOT NULL))
    )
    """,
    """
    CREATE TABLE changeset_items (
        changeset_id bigint NOT NULL REFERENCES changesets, kind text NOT NULL, id text NOT NULL, body jsonb,
        PRIMARY KEY (changeset_id, kind, id)
    )
    """,
    """
    CREATE TABLE changeset_steps (
        changeset_id bigint NOT NULL REFERENCES changesets, revision integer NOT NULL,
        action text NOT NULL, author text NOT NULL, person text NOT NULL, note text NOT NULL,
        kind text, id text, done_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (changeset_id, revision)
    )
    """,
    """
    CREATE FUNCTION changeset_steps_only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'changeset_steps is an audit trail: % is not possible', TG_OP
            USING ERRCODE = 'restrict_violation', HINT = 'whatever is done with a change set is another step';
    END $$
    """,
    "CREATE TRIGGER changeset_steps_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON changeset_steps"
    " FOR EACH STATEMENT EXECUTE FUNCTION changeset_steps_only_grow()",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for table in ("changeset_steps", "changeset_items", "changesets"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION changeset_steps_only_grow()")

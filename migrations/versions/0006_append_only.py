"""The audit trail of the catalogue can only grow: its rows are neither changed nor removed, whoever tries."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION catalog_entries_only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'catalog_entries is an audit trail: % is not possible', TG_OP
                USING ERRCODE = 'restrict_violation', HINT = 'append another entry, or roll back to a version';
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER catalog_entries_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON catalog_entries"
        " FOR EACH STATEMENT EXECUTE FUNCTION catalog_entries_only_grow()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER catalog_entries_only_grow ON catalog_entries")
    op.execute("DROP FUNCTION catalog_entries_only_grow()")

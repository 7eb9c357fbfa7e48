"""Days of reports on offers are added up once more, for up to eight of them."""

from alembic import op

revision = "0053"
down_revision = "0052"


def upgrade() -> None:
    # ``span``: the 1st, 9th, 17th or 25th of a month, from which on days may be in it. ``days``: those that are.
    op.execute("CREATE TABLE IF NOT EXISTS report_spans (span date PRIMARY KEY, days date[] NOT NULL)")
    # ``day``: the first of those.
    op.execute("CREATE TABLE IF NOT EXISTS acceptance_spans (LIKE acceptance_days INCLUDING ALL)")
    # Whoever takes the mark of a day away takes that of its span away.
    op.execute(
        "CREATE OR REPLACE FUNCTION forget_report_spans() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN DELETE FROM report_spans WHERE OLD.day = ANY(days); RETURN NULL; END $$"
    )
    op.execute("DROP TRIGGER IF EXISTS forget_report_spans ON report_days")
    op.execute(
        "CREATE TRIGGER forget_report_spans AFTER UPDATE OR DELETE ON report_days FOR EACH ROW WHEN (OLD.done)"
        " EXECUTE FUNCTION forget_report_spans()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER IF EXISTS forget_report_spans ON report_days")
    op.execute("DROP FUNCTION IF EXISTS forget_report_spans()")
    for table in ("acceptance_spans", "report_spans"):
        op.execute(f"DROP TABLE IF EXISTS {table}")

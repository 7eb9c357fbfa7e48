"""Closed days are rolled up for reports on offers and calibration; events and firings are counted by indexes alone."""

from alembic import op

from migrations import create_concurrently, create_on_partitions

revision = "0051"
down_revision = "0050"

TABLES = (
    "CREATE TABLE IF NOT EXISTS report_days (day date PRIMARY KEY, done boolean NOT NULL DEFAULT false)",
    """
    CREATE TABLE IF NOT EXISTS acceptance_days (
        day date NOT NULL, placement text NOT NULL, policy text NOT NULL, offer_id text NOT NULL, grp text NOT NULL,
        decided bigint NOT NULL, presented_closed bigint NOT NULL, clicked_closed bigint NOT NULL,
        accepted_closed bigint NOT NULL, rejected_closed bigint NOT NULL, ignored bigint NOT NULL,
        unobserved bigint NOT NULL, value_closed double precision NOT NULL,
        value_squares_closed double precision NOT NULL, squared_closed bigint NOT NULL,
        PRIMARY KEY (day, placement, policy, offer_id, grp)
    )
    """,
    "CREATE INDEX IF NOT EXISTS acceptance_days_of_offer ON acceptance_days (offer_id, day)",
    # All predictions of a row, 8 bytes each, big-endian: of accepted offers, and of the others.
    """
    CREATE TABLE IF NOT EXISTS calibration_days (
        day date NOT NULL, placement text NOT NULL, policy text NOT NULL, offer_id text NOT NULL,
        observed bigint NOT NULL, accepted bigint NOT NULL, predicted double precision NOT NULL,
        squared double precision NOT NULL, taken bytea NOT NULL, others bytea NOT NULL,
        PRIMARY KEY (day, placement, policy, offer_id)
    )
    """,
    "CREATE INDEX IF NOT EXISTS calibration_days_of_offer ON calibration_days (offer_id, day)",
)
# Counted by the index alone: firings as ``trigger_firings_newest`` found them.
COUNTED = {"trigger_firings_counted": "trigger_firings (fired_at) INCLUDE (trigger_id, status)"}
NOT_COUNTED = {"trigger_firings_newest": "trigger_firings (fired_at)"}
# What reports read of the roll-up by hour. What else changes in it, such as counts of late answers, changes no report.
KEY = ("hour", "placement", "policy", "offer_id", "grp")
READ = (
    "decided",
    "presented_closed",
    "clicked_closed",
    "accepted_closed",
    "rejected_closed",
    "ignored",
    "unobserved",
    "value_closed",
    "value_squares_closed",
    "squared_closed",
)
# Whoever changes the roll-up by hour, processes of any version among them, takes the marks of its days away.
UNMARK = "DELETE FROM report_days WHERE day IN (SELECT cast(c.hour AT TIME ZONE 'UTC' AS date) FROM ({rows}) AS c);"
MARKED = "(SELECT * FROM {0} WHERE cast(hour AT TIME ZONE 'UTC' AS date) IN (SELECT day FROM report_days))"
# A row that was written and is as it was: what came of its decisions moved in opposite ways, and the log has changed.
CHANGED = (
    f"SELECT hour FROM {MARKED.format('before_it')} AS b FULL JOIN {MARKED.format('after_it')} AS a"
    f" USING ({', '.join(KEY)})"
    f" WHERE ({', '.join(f'b.{name}' for name in READ)}) IS DISTINCT FROM ({', '.join(f'a.{name}' for name in READ)})"
    " OR b IS NOT DISTINCT FROM a"
)
FORGET = {
    "INSERT": ("REFERENCING NEW TABLE AS after_it", UNMARK.format(rows="SELECT hour FROM after_it")),
    "UPDATE": ("REFERENCING OLD TABLE AS before_it NEW TABLE AS after_it", UNMARK.format(rows=CHANGED)),
    "DELETE": ("REFERENCING OLD TABLE AS before_it", UNMARK.format(rows="SELECT hour FROM before_it")),
    "TRUNCATE": ("", "DELETE FROM report_days;"),
}


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    for event, (tables, deed) in FORGET.items():
        name = f"forget_report_days_{event.lower()}"
        op.execute(
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$"
            f" BEGIN {deed} RETURN NULL; END $$"
        )
        op.execute(f"DROP TRIGGER IF EXISTS {name} ON acceptance")
        op.execute(
            f"CREATE TRIGGER {name} AFTER {event} ON acceptance {tables} FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
        )
    create_concurrently(COUNTED, replaced=NOT_COUNTED)
    create_on_partitions("events_counted", "events", "(occurred_at) INCLUDE (type)")


def downgrade() -> None:
    create_concurrently(NOT_COUNTED, replaced=COUNTED)
    op.execute("DROP INDEX IF EXISTS events_counted")
    for event in FORGET:
        name = f"forget_report_days_{event.lower()}"
        op.execute(f"DROP TRIGGER IF EXISTS {name} ON acceptance")
        op.execute(f"DROP FUNCTION IF EXISTS {name}()")
    for table in ("calibration_days", "acceptance_days", "report_days"):
        op.execute(f"DROP TABLE IF EXISTS {table}")

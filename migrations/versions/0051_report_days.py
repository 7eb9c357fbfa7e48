"""Closed days are rolled up for reports on offers and calibration; events and firings are counted by indexes alone."""

from alembic import op

revision = "0051"
down_revision = "0050"

TABLES = (
    "CREATE TABLE report_days (day date PRIMARY KEY, done boolean NOT NULL DEFAULT false)",
    """
    CREATE TABLE acceptance_days (
        day date NOT NULL, placement text NOT NULL, policy text NOT NULL, offer_id text NOT NULL, grp text NOT NULL,
        decided bigint NOT NULL, presented_closed bigint NOT NULL, clicked_closed bigint NOT NULL,
        accepted_closed bigint NOT NULL, rejected_closed bigint NOT NULL, ignored bigint NOT NULL,
        unobserved bigint NOT NULL, value_closed double precision NOT NULL,
        value_squares_closed double precision NOT NULL, squared_closed bigint NOT NULL,
        PRIMARY KEY (day, placement, policy, offer_id, grp)
    )
    """,
    "CREATE INDEX acceptance_days_of_offer ON acceptance_days (offer_id, day)",
    # All predictions of a row, 8 bytes each, big-endian: of accepted offers, and of the others.
    """
    CREATE TABLE calibration_days (
        day date NOT NULL, placement text NOT NULL, policy text NOT NULL, offer_id text NOT NULL,
        observed bigint NOT NULL, accepted bigint NOT NULL, predicted double precision NOT NULL,
        squared double precision NOT NULL, taken bytea NOT NULL, others bytea NOT NULL,
        PRIMARY KEY (day, placement, policy, offer_id)
    )
    """,
    "CREATE INDEX calibration_days_of_offer ON calibration_days (offer_id, day)",
)
COUNTED = (
    "CREATE INDEX events_counted ON events (occurred_at) INCLUDE (type)",
    "DROP INDEX trigger_firings_newest",
    "CREATE INDEX trigger_firings_newest ON trigger_firings (fired_at) INCLUDE (trigger_id, status)",
)
NOT_COUNTED = (
    "DROP INDEX trigger_firings_newest",
    "CREATE INDEX trigger_firings_newest ON trigger_firings (fired_at)",
    "DROP INDEX events_counted",
)
# What reports read of the roll-up by hour. What else changes in it, such as counts of late answers, changes no report.
READ = (
    "hour, placement, policy, offer_id, grp, decided, presented_closed, clicked_closed, accepted_closed,"
    " rejected_closed, ignored, unobserved, value_closed, value_squares_closed, squared_closed"
)
# Whoever changes the roll-up by hour, processes of any version among them, takes the marks of its days away.
UNMARK = "DELETE FROM report_days WHERE day IN (SELECT cast(c.hour AT TIME ZONE 'UTC' AS date) FROM ({rows}) AS c);"
CHANGED = (
    f"(SELECT {READ} FROM after_it EXCEPT SELECT {READ} FROM before_it)"
    f" UNION ALL (SELECT {READ} FROM before_it EXCEPT SELECT {READ} FROM after_it)"
)
FORGET = {
    "INSERT": ("REFERENCING NEW TABLE AS after_it", UNMARK.format(rows="SELECT hour FROM after_it")),
    "UPDATE": ("REFERENCING OLD TABLE AS before_it NEW TABLE AS after_it", UNMARK.format(rows=CHANGED)),
    "DELETE": ("REFERENCING OLD TABLE AS before_it", UNMARK.format(rows="SELECT hour FROM before_it")),
    "TRUNCATE": ("", "DELETE FROM report_days;"),
}


def upgrade() -> None:
    for statement in (*TABLES, *COUNTED):
        op.execute(statement)
    for event, (tables, deed) in FORGET.items():
        name = f"forget_report_days_{event.lower()}"
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {deed} RETURN NULL; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {name} AFTER {event} ON acceptance {tables} FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
        )


def downgrade() -> None:
    for statement in NOT_COUNTED:
        op.execute(statement)
    for event in FORGET:
        name = f"forget_report_days_{event.lower()}"
        op.execute(f"DROP TRIGGER {name} ON acceptance")
        op.execute(f"DROP FUNCTION {name}()")
    for table in ("calibration_days", "acceptance_days", "report_days"):
        op.execute(f"DROP TABLE {table}")

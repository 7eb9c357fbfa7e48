"""Events are counted by type and quarter of an hour, for the report that counts them by day."""

from alembic import op

revision = "0052"
down_revision = "0051"

SLOT = "date_bin('15 minutes', e.occurred_at, timestamptz '0001-01-01 00:00:00+00')"
# In one order, so that those who count at the same time do not lock each other out.
COUNT = (
    "INSERT INTO event_counts AS c (slot, type, events)"
    f" SELECT {SLOT}, e.type, sum(e.change) FROM ({{rows}}) AS e GROUP BY 1, 2 ORDER BY 1, 2"
    " ON CONFLICT (slot, type) DO UPDATE SET events = c.events + excluded.events;"
)
ADDED = "SELECT occurred_at, type, 1 AS change FROM {0}"
TAKEN = "SELECT occurred_at, type, -1 AS change FROM before_it"
CLEAR = f" DELETE FROM event_counts AS c USING before_it AS e WHERE events = 0 AND (slot, c.type) = ({SLOT}, e.type);"
# Whoever changes the table, processes of any version among them, changes the counts by what has really changed.
TRIGGERS = {
    "INSERT": ("NEW TABLE AS after_it", COUNT.format(rows=ADDED.format("after_it"))),
    "UPDATE": (
        "OLD TABLE AS before_it NEW TABLE AS after_it",
        COUNT.format(rows=f"{ADDED.format('after_it')} UNION ALL {TAKEN}") + CLEAR,
    ),
    "DELETE": ("OLD TABLE AS before_it", COUNT.format(rows=TAKEN) + CLEAR),
}
# Retention names the partition of what has no month. Where it drops a month, it deletes the counts itself.
TABLES = ("events", "events_default")


def upgrade() -> None:
    op.execute(
        "CREATE TABLE event_counts (slot timestamptz, type text, events bigint NOT NULL, PRIMARY KEY (slot, type))"
    )
    for event, (tables, deed) in TRIGGERS.items():
        name = f"count_events_{event.lower()}"
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {deed} RETURN NULL; END $$"
        )
        for table in TABLES:
            op.execute(
                f"CREATE TRIGGER {name} AFTER {event} ON {table} REFERENCING {tables}"
                f" FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
            )
    # Nobody writes events from the first trigger to the end of this transaction.
    op.execute(COUNT.format(rows=ADDED.format("events")))


def downgrade() -> None:
    for event in TRIGGERS:
        op.execute(f"DROP FUNCTION count_events_{event.lower()}() CASCADE")
    op.execute("DROP TABLE event_counts")

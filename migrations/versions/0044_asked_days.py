"""Days of customers are rolled up for reports on hold-outs, which views name; signals can be lifted."""

from alembic import op

revision = "0044"
down_revision = "0043"

TABLES = (
    """
    CREATE TABLE asked_days (
        day date NOT NULL, customer_id text NOT NULL, held text[] NOT NULL, version bigint NOT NULL,
        first_at timestamptz, offers bigint NOT NULL, closed bigint NOT NULL, acceptances double precision NOT NULL,
        value double precision NOT NULL
    )
    """,
    "CREATE INDEX asked_days_in_time ON asked_days USING brin (day)",
    "CREATE INDEX asked_days_of_customer ON asked_days (customer_id)",
    "CREATE TABLE rolled_up_days (day date PRIMARY KEY, done boolean NOT NULL DEFAULT false)",
    """
    CREATE TABLE lifted_signals (
        customer_id text NOT NULL, signal_id text NOT NULL, lifted_ms bigint NOT NULL,
        PRIMARY KEY (customer_id, signal_id)
    )
    """,
)
HELD = (
    "CASE WHEN d.catalog_version IS NULL AND d.header ? 'holdouts'"
    " THEN ARRAY(SELECT jsonb_array_elements_text(d.header -> 'holdouts')) ELSE coalesce(d.holdouts, '{}') END"
)
GROUP = (
    "coalesce(d.grp, d.header ->> 'group', CASE WHEN d.header ->> 'source' = 'history' THEN 'imported'"
    " WHEN (d.header ->> 'control')::boolean THEN 'control' ELSE 'champion' END)"
)
CLOSED = (
    "(d.policy = 'history@1' OR jsonb_array_length(d.header -> 'numbers') = 0"
    " OR EXISTS (SELECT FROM outcomes AS x WHERE x.decision_id = d.decision_id"
    " AND x.decided_at = d.decided_at AND x.outcome IN ('expired', 'closed', 'withdrawn')))"
)


def _views(more: str) -> None:
    """Make the views of decisions, or replace them, which keeps what was granted. ``more``: a last column."""
    op.execute(
        f"""
        CREATE OR REPLACE VIEW nb_decisions AS
        SELECT d.decision_id, d.decided_at, d.customer_id, d.placement, d.policy, {GROUP} AS "group",
            d.header ->> 'channel' AS channel, d.header ->> 'source' AS source,
            (d.header ->> 'catalog_version')::bigint AS catalog_version, (d.header ->> 'slots')::integer AS slots,
            jsonb_array_length(d.header -> 'offers') AS offers, nb_offers_of(d.candidates) AS candidates,
            d.header -> 'context' AS context, d.header -> 'facts' AS facts, d.header -> 'segments' AS segments,
            d.header -> 'degraded' AS degraded, {CLOSED} AS closed{more}
        FROM decisions AS d
        """
    )
    op.execute(
        f"""
        CREATE OR REPLACE VIEW nb_decided_offers AS
        SELECT d.decision_id, d.decided_at, d.customer_id, d.placement, d.policy, {GROUP} AS "group",
            o.place::integer AS rank, o.offer ->> 'offer_id' AS offer_id,
            (o.offer ->> 'probability')::double precision AS probability,
            (o.offer ->> 'score')::double precision AS score,
            (o.offer -> 'factors' ->> 'P')::double precision AS factor_p,
            (o.offer -> 'factors' ->> 'C')::double precision AS factor_c,
            (o.offer -> 'factors' ->> 'V')::double precision AS factor_v,
            (o.offer -> 'factors' ->> 'L')::double precision AS factor_l,
            (d.header -> 'expected' ->> (o.place - 1)::integer)::double precision AS expected{more}
        FROM decisions AS d, jsonb_array_elements(d.header -> 'offers') WITH ORDINALITY AS o (offer, place)
        """
    )


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    # Replaced, not dropped: grants on them, and views of users that read them, stay.
    _views(f", {HELD} AS holdouts")


def downgrade() -> None:
    for view in ("nb_decided_offers", "nb_decisions"):  # a column can be added to a view alone
        op.execute(f"DROP VIEW {view}")
    _views("")
    op.execute("DROP TABLE lifted_signals")
    op.execute("DROP TABLE rolled_up_days")
    op.execute("DROP TABLE asked_days")

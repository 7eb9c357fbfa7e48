"""Exports that were asked for; the log as views that people can read; an index of decisions by time.

Candidates are packed numbers of offers: little-endian, 4 bytes each. Their propensities, context weights and values are
packed floating-point numbers, which SQL cannot read: exports have them.
"""

from alembic import op

revision = "0019"
down_revision = "0018"

GROUP = (
    "coalesce(d.grp, d.header ->> 'group', CASE WHEN d.header ->> 'source' = 'history' THEN 'imported'"
    " WHEN (d.header ->> 'control')::boolean THEN 'control' ELSE 'champion' END)"
)
CLOSED = (
    "(d.policy = 'history@1' OR jsonb_array_length(d.header -> 'numbers') = 0"
    " OR EXISTS (SELECT FROM outcomes AS x WHERE x.decision_id = d.decision_id"
    " AND x.decided_at = d.decided_at AND x.outcome IN ('expired', 'closed', 'withdrawn')))"
)
UP = (
    """
    CREATE TABLE exports (
        export_id text PRIMARY KEY, request jsonb NOT NULL, author text NOT NULL,
        state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed')),
        asked_at timestamptz NOT NULL DEFAULT now(), alive_at timestamptz, finished_at timestamptz,
        seen bigint NOT NULL DEFAULT 0, total bigint NOT NULL DEFAULT 0, result jsonb, error text
    )
    """,
    "CREATE INDEX exports_open ON exports (asked_at) WHERE state IN ('waiting', 'running')",
    # Decisions are archived about in the order of time, so a coarse index is enough, and costs next to nothing.
    "CREATE INDEX decisions_in_time ON decisions USING brin (decided_at)",
    """
    CREATE FUNCTION nb_offers_of(numbers bytea) RETURNS text[] LANGUAGE sql STABLE AS $$
        SELECT coalesce(array_agg(coalesce(o.offer_id, '#' || n.number) ORDER BY n.place), '{}')
        FROM (
            SELECT i AS place, get_byte(numbers, 4 * i)::bigint + get_byte(numbers, 4 * i + 1)::bigint * 256
                + get_byte(numbers, 4 * i + 2)::bigint * 65536 + get_byte(numbers, 4 * i + 3)::bigint * 16777216
                AS number
            FROM generate_series(0, length(numbers) / 4 - 1) AS i
        ) AS n LEFT JOIN offers AS o ON o.offer_no = n.number
    $$
    """,
    f"""
    CREATE VIEW nb_decisions AS
    SELECT d.decision_id, d.decided_at, d.customer_id, d.placement, d.policy, {GROUP} AS "group",
        d.header ->> 'channel' AS channel, d.header ->> 'source' AS source,
        (d.header ->> 'catalog_version')::bigint AS catalog_version, (d.header ->> 'slots')::integer AS slots,
        jsonb_array_length(d.header -> 'offers') AS offers, nb_offers_of(d.candidates) AS candidates,
        d.header -> 'context' AS context, d.header -> 'facts' AS facts, d.header -> 'segments' AS segments,
        d.header -> 'degraded' AS degraded, {CLOSED} AS closed
    FROM decisions AS d
    """,
    f"""
    CREATE VIEW nb_decided_offers AS
    SELECT d.decision_id, d.decided_at, d.customer_id, d.placement, d.policy, {GROUP} AS "group",
        o.place::integer AS rank, o.offer ->> 'offer_id' AS offer_id,
        (o.offer ->> 'probability')::double precision AS probability,
        (o.offer ->> 'score')::double precision AS score,
        (o.offer -> 'factors' ->> 'P')::double precision AS factor_p,
        (o.offer -> 'factors' ->> 'C')::double precision AS factor_c,
        (o.offer -> 'factors' ->> 'V')::double precision AS factor_v,
        (o.offer -> 'factors' ->> 'L')::double precision AS factor_l,
        (d.header -> 'expected' ->> (o.place - 1)::integer)::double precision AS expected
    FROM decisions AS d, jsonb_array_elements(d.header -> 'offers') WITH ORDINALITY AS o (offer, place)
    """,
    """
    CREATE VIEW nb_outcomes AS
    SELECT decision_id, decided_at, offer_id, outcome, value, to_timestamp(at_ms / 1000.0) AS occurred_at,
        to_timestamp(recorded_ms / 1000.0) AS recorded_at, late, reward, policy, placement, estimate AS expected, worth,
        nullif(prior, 'NaN') AS base_propensity, facts
    FROM outcomes
    """,
    """
    CREATE VIEW nb_customers AS
    SELECT c.customer_id, c.attributes, c.indicators, c.holdings, c.interests, c.consents, c.updated_at,
        p.scores AS propensities
    FROM customers AS c LEFT JOIN propensities AS p USING (customer_id)
    """,
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for view in ("nb_customers", "nb_outcomes", "nb_decided_offers", "nb_decisions"):
        op.execute(f"DROP VIEW {view}")
    op.execute("DROP FUNCTION nb_offers_of(bytea)")
    op.execute("DROP INDEX decisions_in_time")
    op.execute("DROP TABLE exports")

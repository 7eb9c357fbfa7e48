"""Consents and objections with source, time and proof; consents that end; a trail of what is of no single person."""

from alembic import op

revision = "0040"
down_revision = "0039"

VIEW = """
CREATE OR REPLACE VIEW nb_customers AS
SELECT c.customer_id, c.attributes, c.indicators, c.holdings, c.interests, {consents}, c.updated_at,
    p.scores AS propensities
FROM customers AS c LEFT JOIN propensities AS p USING (customer_id)
"""
UP = (
    """
    CREATE TABLE consent_records (
        record_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, customer_id text NOT NULL,
        kind text NOT NULL CHECK (kind IN ('consent', 'objection')), purpose text NOT NULL, channel text NOT NULL,
        given boolean NOT NULL, stated_at timestamptz, source text NOT NULL DEFAULT '', proof text NOT NULL DEFAULT '',
        expires_at timestamptz, before jsonb, author text NOT NULL DEFAULT '',
        recorded_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX consent_records_of_customer ON consent_records (customer_id, record_id)",
    """
    CREATE FUNCTION consent_records_stay() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'consent_records is a history: a record is not changed' USING ERRCODE = 'restrict_violation';
    END $$
    """,
    "CREATE TRIGGER consent_records_stay BEFORE UPDATE ON consent_records"
    " FOR EACH STATEMENT EXECUTE FUNCTION consent_records_stay()",
    """
    CREATE FUNCTION consents_at(stored jsonb, ends jsonb, moment timestamptz) RETURNS jsonb
    LANGUAGE sql IMMUTABLE AS $body$
        SELECT CASE WHEN ends IS NULL THEN stored ELSE consents_after(stored, coalesce((
            SELECT jsonb_object_agg(
                purpose, jsonb_build_object('add', objections, 'drop', ended, 'withdraw_all', false))
            FROM (
                SELECT of_purpose.key AS purpose, jsonb_agg(one.key) AS ended,
                       coalesce(jsonb_agg('!' || one.key) FILTER (WHERE (one.value ->> 1)::boolean), '[]') AS objections
                FROM jsonb_each(ends) AS of_purpose CROSS JOIN LATERAL jsonb_each(of_purpose.value) AS one
                WHERE (one.value ->> 0)::bigint <= extract(epoch FROM moment) * 1000 GROUP BY of_purpose.key
            ) AS over
        ), '{}')) END
    $body$
    """,
    """
    CREATE FUNCTION next_consent_end_ms(ends jsonb, moment timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS $body$
        SELECT ceil(min((one.value ->> 0)::bigint - extract(epoch FROM moment) * 1000))::bigint
        FROM jsonb_each(ends) AS of_purpose CROSS JOIN LATERAL jsonb_each(of_purpose.value) AS one
        WHERE (one.value ->> 0)::bigint > extract(epoch FROM moment) * 1000
    $body$
    """,
    # A purpose without entries is an objection to all channels.
    """
    CREATE FUNCTION consent_entries(stored jsonb)
    RETURNS TABLE (purpose text, entry text, kind text, channel text) LANGUAGE sql IMMUTABLE AS $body$
        SELECT of_purpose.key, one.entry,
               CASE WHEN starts_with(one.entry, '!') THEN 'objection' ELSE 'consent' END,
               CASE WHEN starts_with(one.entry, '!') THEN substr(one.entry, 2) ELSE one.entry END
        FROM jsonb_each(stored) AS of_purpose
        CROSS JOIN LATERAL jsonb_array_elements_text(
            CASE WHEN jsonb_typeof(of_purpose.value) <> 'array' OR of_purpose.value = '[]' THEN '["!*"]'
                 ELSE of_purpose.value END
        ) AS one (entry)
    $body$
    """,
    # Whoever changes consents without records of their own gets them here, processes of an earlier build too.
    """
    CREATE FUNCTION note_consents() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('nextbest.consents_noted', true) = 'on' THEN
            RETURN NULL;
        END IF;
        IF TG_OP = 'INSERT' THEN
            INSERT INTO consent_records (customer_id, kind, purpose, channel, given, stated_at, author)
            SELECT n.customer_id, e.kind, e.purpose, e.channel, true, now(),
                   coalesce(current_setting('nextbest.author', true), '')
            FROM new_rows AS n CROSS JOIN LATERAL consent_entries(n.consents) AS e WHERE n.consents <> '{}';
            RETURN NULL;
        END IF;
        INSERT INTO consent_records (customer_id, kind, purpose, channel, given, stated_at, before, author)
        SELECT c.customer_id, e.kind, e.purpose, e.channel, e.given, now(), c.before -> e.purpose,
               coalesce(current_setting('nextbest.author', true), '')
        FROM (
            SELECT n.customer_id, consents_at(o.consents, o.consent_ends, now()) AS before, n.consents AS after
            FROM new_rows AS n JOIN old_rows AS o USING (customer_id) WHERE n.consents IS DISTINCT FROM o.consents
        ) AS c
        CROSS JOIN LATERAL (
            (SELECT false AS given, * FROM consent_entries(c.before)
             EXCEPT SELECT false, * FROM consent_entries(c.after))
            UNION ALL
            (SELECT true, * FROM consent_entries(c.after) EXCEPT SELECT true, * FROM consent_entries(c.before))
        ) AS e;
        RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER note_new_consents AFTER INSERT ON customers REFERENCING NEW TABLE AS new_rows"
    " FOR EACH STATEMENT EXECUTE FUNCTION note_consents()",
    "CREATE TRIGGER note_changed_consents AFTER UPDATE ON customers"
    " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_consents()",
    # When what is stored already was said is not known. Until here customers can be read.
    "INSERT INTO consent_records (customer_id, kind, purpose, channel, given)"
    " SELECT c.customer_id, e.kind, e.purpose, e.channel, true"
    " FROM customers AS c CROSS JOIN LATERAL consent_entries(c.consents) AS e WHERE c.consents <> '{}'",
    # By purpose and channel: [when the consent ends in Unix ms, whether an older objection holds again then].
    "ALTER TABLE customers ADD COLUMN consent_ends jsonb",
    # The end of a consent goes with it: one that is given anew, in the short form, has none.
    """
    CREATE FUNCTION keep_consent_ends() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        before jsonb := consents_at(OLD.consents, OLD.consent_ends, now());
    BEGIN
        IF current_setting('nextbest.consents_noted', true) IS DISTINCT FROM 'on' THEN
            NEW.consent_ends := (
                SELECT jsonb_object_agg(purpose, kept) FROM (
                    SELECT of_purpose.key AS purpose, jsonb_object_agg(one.key, one.value) AS kept
                    FROM jsonb_each(OLD.consent_ends) AS of_purpose
                    CROSS JOIN LATERAL jsonb_each(of_purpose.value) AS one
                    WHERE jsonb_exists(before -> of_purpose.key, one.key)
                        AND jsonb_exists(NEW.consents -> of_purpose.key, one.key)
                    GROUP BY of_purpose.key
                ) AS left_over
            );
        END IF;
        RETURN NEW;
    END $$
    """,
    "CREATE TRIGGER keep_consent_ends BEFORE UPDATE ON customers FOR EACH ROW"
    " WHEN (OLD.consent_ends IS NOT NULL AND NEW.consents IS DISTINCT FROM OLD.consents)"
    " EXECUTE FUNCTION keep_consent_ends()",
    VIEW.format(consents="consents_at(c.consents, c.consent_ends, now()) AS consents"),
    "ALTER TABLE privacy_actions ALTER COLUMN subject DROP NOT NULL",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute(VIEW.format(consents="c.consents"))
    for name in ("note_new_consents", "note_changed_consents", "keep_consent_ends"):
        op.execute(f"DROP TRIGGER {name} ON customers")
    # Without the column nothing ends any more: what would end later is taken away too, and older objections hold.
    op.execute(
        "UPDATE customers SET consents = consents_at(consents, consent_ends, '9999-12-31T00:00:00Z')"
        " WHERE consent_ends IS NOT NULL"
    )
    for name in ("note_consents()", "keep_consent_ends()", "consent_entries(jsonb)"):
        op.execute(f"DROP FUNCTION {name}")
    op.execute("DROP FUNCTION consents_at(jsonb, jsonb, timestamptz)")
    op.execute("DROP FUNCTION next_consent_end_ms(jsonb, timestamptz)")
    op.execute("ALTER TABLE customers DROP COLUMN consent_ends")
    op.execute("DROP TABLE consent_records")
    op.execute("DROP FUNCTION consent_records_stay()")

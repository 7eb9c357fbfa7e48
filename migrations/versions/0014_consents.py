"""Changes of consents and objections by imports, and customers whose stored ids are not in their one form."""

from alembic import op

revision = "0014"
down_revision = "0013"

# The same as ``profiles.consents.Change.apply``, for all purposes that ``changes`` names. A purpose without entries, or
# with what is no list, is an objection to all channels.
CONSENTS_AFTER = """
CREATE FUNCTION consents_after(stored jsonb, changes jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $body$
    SELECT coalesce(
        (SELECT jsonb_object_agg(kept.key, kept.value) FROM jsonb_each(stored) AS kept
         WHERE NOT jsonb_exists(changes, kept.key)),
        '{}'
    ) || coalesce(
        (SELECT jsonb_object_agg(change.key, result.entries)
         FROM jsonb_each(changes) AS change
         CROSS JOIN LATERAL (
             SELECT jsonb_agg(entry ORDER BY added, place) AS entries FROM (
                 SELECT entry, false AS added, place
                 FROM jsonb_array_elements_text(
                     CASE WHEN NOT jsonb_exists(stored, change.key) THEN '[]'
                          WHEN jsonb_typeof(stored -> change.key) <> 'array' OR stored -> change.key = '[]'
                          THEN '["!*"]'
                          ELSE stored -> change.key END
                 ) WITH ORDINALITY AS before (entry, place)
                 WHERE NOT jsonb_exists(change.value -> 'drop', entry)
                   AND NOT jsonb_exists(change.value -> 'add', entry)
                   AND (starts_with(entry, '!') OR NOT CAST(change.value -> 'withdraw_all' AS boolean))
                 UNION ALL
                 SELECT entry, true, place
                 FROM jsonb_array_elements_text(change.value -> 'add') WITH ORDINALITY AS named (entry, place)
             ) AS all_entries
         ) AS result
         WHERE result.entries IS NOT NULL),
        '{}'
    )
$body$
"""


# The same as ``profiles.customer_id.normal_customer_id``, but line breaks at the ends are cut off as well: such ids are
# stored, and their customers are asked about without. Null for what has no such form.
NORMAL_ID = r"""
CREATE FUNCTION normal_customer_id(id text) RETURNS text LANGUAGE sql IMMUTABLE AS $body$
    SELECT CASE WHEN trimmed <> '' AND trimmed !~ E'[\u0001-\u001f\u007f-\u009f\u2028\u2029\u180e\u200b\u2060\ufeff]'
                THEN trimmed END
    FROM btrim(normalize(id, NFC),
               E' \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000'
               || E'\u180e\u200b\u2060\ufeff\t\n\u000b\f\r\u0085\u2028\u2029') AS trimmed
$body$
"""
ODD_IDS = """
CREATE FUNCTION odd_customer_ids() RETURNS TABLE (odd text, normal text) LANGUAGE sql STABLE AS $body$
    SELECT id, normal_customer_id(id) FROM (
        SELECT customer_id AS id FROM customers UNION SELECT customer_id FROM propensities
        UNION SELECT customer_id FROM suppressions
    ) AS stored
    WHERE id !~ '^[!-~]([ -~]*[!-~])?$' AND id IS DISTINCT FROM normal_customer_id(id)
    ORDER BY id COLLATE "C"
$body$
"""
# Nothing that limits contact is lost: suppressions end later, objections add up.
COPY_ODD_IDS = """
CREATE FUNCTION copy_odd_customer_ids() RETURNS void LANGUAGE plpgsql AS $body$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT * FROM odd_customer_ids() WHERE normal IS NOT NULL LOOP
        INSERT INTO suppressions AS s (list_id, customer_id, reason, until, added_at)
        SELECT list_id, one.normal, reason, until, added_at FROM suppressions WHERE customer_id = one.odd
        ON CONFLICT (list_id, customer_id) DO UPDATE SET
            until = CASE WHEN s.until IS NULL OR excluded.until IS NULL THEN NULL
                         ELSE greatest(s.until, excluded.until) END;
        INSERT INTO propensities AS p (customer_id, scores, updated_at)
        SELECT one.normal, scores, updated_at FROM propensities WHERE customer_id = one.odd
        ON CONFLICT (customer_id) DO UPDATE SET scores = excluded.scores || p.scores;
        INSERT INTO customers AS c (customer_id, attributes, indicators, holdings, interests, consents, updated_at)
        SELECT one.normal, attributes, indicators, holdings, interests, consents, updated_at
        FROM customers WHERE customer_id = one.odd
        ON CONFLICT (customer_id) DO UPDATE SET consents = consents_after(c.consents, (
            SELECT coalesce(jsonb_object_agg(purpose.key, jsonb_build_object(
                       'add', named.entries, 'drop', named.channels,
                       'withdraw_all', jsonb_exists(named.entries, '!*'))), '{}')
            FROM jsonb_each(excluded.consents) AS purpose
            CROSS JOIN LATERAL (
                SELECT jsonb_agg(entry) AS entries, jsonb_agg(substr(entry, 2)) AS channels
                FROM jsonb_array_elements_text(
                    CASE WHEN jsonb_typeof(purpose.value) <> 'array' OR purpose.value = '[]' THEN '["!*"]'
                         ELSE purpose.value END
                ) AS entry
                WHERE starts_with(entry, '!')
            ) AS named
            WHERE named.entries IS NOT NULL
        ));
    END LOOP;
END
$body$
"""


def upgrade() -> None:
    op.execute(CONSENTS_AFTER)
    op.execute(NORMAL_ID)
    op.execute(ODD_IDS)
    op.execute(COPY_ODD_IDS)
    # From now on customers are looked up by their normal ids alone. The rows stay for processes of an earlier build;
    # ``nextbest ids --mend`` removes them.
    op.execute("SELECT copy_odd_customer_ids()")


def downgrade() -> None:
    op.execute("DROP FUNCTION copy_odd_customer_ids()")
    op.execute("DROP FUNCTION odd_customer_ids()")
    op.execute("DROP FUNCTION normal_customer_id(text)")
    op.execute("DROP FUNCTION consents_after(jsonb, jsonb)")

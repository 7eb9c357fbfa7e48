"""Registers of persons who must not be contacted, as salted hashes of an id, a telephone number or an address."""

from alembic import op

revision = "0029"
down_revision = "0028"

UP = (
    """
    CREATE TABLE registers (
        register_id text PRIMARY KEY, field text NOT NULL,
        form text NOT NULL CHECK (form IN ('id', 'email', 'phone')), country_code text, salt text NOT NULL,
        without_value text NOT NULL CHECK (without_value IN ('suppress', 'pass')), reason text NOT NULL,
        author text NOT NULL, created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE register_entries (
        register_id text NOT NULL REFERENCES registers ON DELETE CASCADE, digest bytea NOT NULL, until timestamptz,
        added_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (register_id, digest)
    )
    """,
    # The forms that a value may stand for, any of which may be in a register; none if it cannot be read. Telephone
    # numbers are those of E.164: +34600111222. Without a + nobody knows if the country's code is there already, nor
    # if a 0 in front is dialled within the country only, so each way to read it is looked up.
    """
    CREATE FUNCTION nb_forms(form text, country_code text, value text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE form
            WHEN 'id' THEN array_remove(ARRAY[nullif(value, '')], NULL)
            WHEN 'email' THEN CASE WHEN btrim(value) ~ '^[^@\\s]+@[^@\\s]+$' THEN ARRAY[lower(btrim(value))] END
            ELSE (
                SELECT array_agg(DISTINCT number)
                FROM (SELECT regexp_replace(value, '[^0-9+]', '', 'g') AS dialled) AS d,
                LATERAL (SELECT regexp_replace(dialled, '^00', '+') AS whole) AS w,
                LATERAL unnest(CASE
                    WHEN whole LIKE '+%' THEN ARRAY[
                        whole,
                        CASE WHEN whole LIKE '+' || country_code || '0%'
                            THEN '+' || country_code || substr(whole, length(country_code) + 3) END
                    ]
                    ELSE ARRAY[
                        '+' || country_code || regexp_replace(dialled, '^0', ''),
                        '+' || country_code || dialled,
                        CASE WHEN dialled LIKE country_code || '%' THEN '+' || dialled END,
                        CASE WHEN dialled LIKE country_code || '0%'
                            THEN '+' || country_code || substr(dialled, length(country_code) + 2) END
                    ]
                END) AS number
                WHERE number ~ '^\\+[1-9][0-9]{6,14}$'
                    AND value !~ '[^0-9+() ./-]'
                    AND value !~ '\\( *0 *\\)'  -- +44 (0)20: the 0 is not part of it, or is, by the country
                    AND value !~ '^ *\\+?[0-9]+\\.[0-9]+ *$'  -- a number with decimals
            )
        END
    $$
    """,
    # The registers that a customer is in, or may be in, since there is nothing, or nothing readable, to look up.
    """
    CREATE FUNCTION nb_registered(customer text, attributes jsonb)
    RETURNS TABLE (list_id text, reason text, until timestamptz, added_at timestamptz) LANGUAGE sql STABLE AS $$
        SELECT r.register_id, r.reason, e.until, coalesce(e.added_at, r.created_at)
        FROM registers AS r
        CROSS JOIN LATERAL (
            SELECT CASE r.field WHEN 'customer_id' THEN customer ELSE attributes ->> r.field END AS raw
        ) AS v
        CROSS JOIN LATERAL (SELECT nb_forms(r.form, r.country_code, v.raw) AS forms) AS n
        LEFT JOIN LATERAL (
            SELECT found.digest, found.until, found.added_at FROM register_entries AS found
            WHERE found.register_id = r.register_id
                AND found.digest = ANY(ARRAY(SELECT sha256(convert_to(r.salt || f, 'UTF8')) FROM unnest(n.forms) AS f))
            ORDER BY found.until DESC NULLS FIRST LIMIT 1
        ) AS e ON true
        WHERE e.digest IS NOT NULL OR attributes IS NOT NULL AND coalesce(cardinality(n.forms), 0) = 0
            AND (coalesce(v.raw, '') <> '' OR r.without_value = 'suppress')
    $$
    """,
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP FUNCTION nb_registered(text, jsonb)")
    op.execute("DROP FUNCTION nb_forms(text, text, text)")
    op.execute("DROP TABLE register_entries")
    op.execute("DROP TABLE registers")

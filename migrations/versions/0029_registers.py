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
    # The one form of a value, or null if it has none. Telephone numbers are those of E.164: +34600111222.
    """
    CREATE FUNCTION nb_normal(form text, country_code text, value text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE form
            WHEN 'id' THEN nullif(value, '')
            WHEN 'email' THEN CASE WHEN btrim(value) ~ '^[^@\\s]+@[^@\\s]+$' THEN lower(btrim(value)) END
            ELSE (
                SELECT CASE WHEN number ~ '^\\+[1-9][0-9]{6,14}$' THEN number END
                FROM (SELECT regexp_replace(value, '[^0-9+]', '', 'g') AS dialled) AS d,
                LATERAL (
                    SELECT CASE
                        WHEN value ~ '[^0-9+() ./-]' THEN NULL
                        WHEN dialled LIKE '+%' THEN dialled
                        WHEN dialled LIKE '00%' THEN '+' || substr(dialled, 3)
                        WHEN country_code IS NOT NULL THEN '+' || country_code || regexp_replace(dialled, '^0', '')
                    END AS number
                ) AS n
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
        CROSS JOIN LATERAL (SELECT nb_normal(r.form, r.country_code, v.raw) AS value) AS n
        LEFT JOIN register_entries AS e
            ON e.register_id = r.register_id AND e.digest = sha256(convert_to(r.salt || n.value, 'UTF8'))
        WHERE e.digest IS NOT NULL OR attributes IS NOT NULL AND n.value IS NULL
            AND (coalesce(v.raw, '') <> '' OR r.without_value = 'suppress')
    $$
    """,
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP FUNCTION nb_registered(text, jsonb)")
    op.execute("DROP FUNCTION nb_normal(text, text, text)")
    op.execute("DROP TABLE register_entries")
    op.execute("DROP TABLE registers")

"""Search over scripts: the texts of all treatments."""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
-- What agents say, made of the treatments; it can be thrown away and rebuilt. One row for each piece of text.
CREATE TABLE script_texts (
    offer_id text NOT NULL,
    treatment_id text NOT NULL,
    channel text NOT NULL,
    language text NOT NULL,
    config text NOT NULL CHECK (config IN ('english', 'spanish', 'simple')),
    part text NOT NULL CHECK (part IN ('title', 'message', 'step', 'objection')),
    part_id text NOT NULL,
    text text NOT NULL,
    answer text,
    tsv tsvector NOT NULL GENERATED ALWAYS AS (
        setweight(
            CASE config
                WHEN 'english' THEN to_tsvector('english', text)
                WHEN 'spanish' THEN to_tsvector('spanish', text)
                ELSE to_tsvector('simple', text)
            END,
            CASE part WHEN 'objection' THEN 'A'::"char" WHEN 'message' THEN 'C'::"char" ELSE 'B'::"char" END
        ) || setweight(
            CASE config
                WHEN 'english' THEN to_tsvector('english', coalesce(answer, ''))
                WHEN 'spanish' THEN to_tsvector('spanish', coalesce(answer, ''))
                ELSE to_tsvector('simple', coalesce(answer, ''))
            END,
            'B'
        )
    ) STORED,
    PRIMARY KEY (offer_id, treatment_id, part, part_id)
);
CREATE INDEX script_texts_tsv ON script_texts USING gin (tsv);

-- Treatments had titles and messages so far, and no variables.
INSERT INTO script_texts (offer_id, treatment_id, channel, language, config, part, part_id, text)
SELECT
    split_part(t.id, '/', 1), split_part(t.id, '/', 2), t.body->>'channel', t.body->>'language',
    CASE split_part(lower(t.body->>'language'), '-', 1)
        WHEN 'en' THEN 'english' WHEN 'es' THEN 'spanish' ELSE 'simple' END,
    part, '', t.body->>part
FROM (
    SELECT DISTINCT ON (id) id, body FROM catalog_entries WHERE kind = 'treatment' ORDER BY id, version DESC
) t, unnest(ARRAY['title', 'message']) AS part
WHERE t.body IS NOT NULL AND trim(t.body->>part) <> '';
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE script_texts")

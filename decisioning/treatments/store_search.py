"""Search over the texts of agents: scripts, answers to objections, titles and messages, by Postgres full-text search.

``script_texts`` holds the texts of all treatments as they were saved last, and is rewritten with them; it can be
thrown away and made again from the catalogue.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.model.entities import Offer
from decisioning.treatments.treatment import searchable_text
from storage.postgres import transaction

MAX_QUERY_CHARS = 500
"""Longer queries are cut; a single word that Postgres still takes is four times as long."""

# Texts in these languages are stemmed, all others taken by the word.
_CONFIGS = {"en": "english", "es": "spanish"}
# Marks around what was found: from the private use area, and taken out of texts beforehand.
_OPEN, _CLOSE = "\ue000", "\ue001"
_NO_MARKS = str.maketrans("", "", _OPEN + _CLOSE + "\x00")

_INSERT = text(
    "INSERT INTO script_texts (offer_id, treatment_id, channel, language, config, part, part_id, text, answer)"
    " VALUES (:offer_id, :treatment_id, :channel, :language, :config, :part, :part_id, :text, :answer)"
)
# ``strict``: all words. ``loose``: any word, the last one being possibly unfinished; not where words are excluded.
_SEARCH = text(
    r"""
    WITH asked AS (
        SELECT config, websearch_to_tsquery(config::regconfig, :words) AS strict
        FROM unnest(CAST(:configs AS text[])) AS config
    ), query AS (
        SELECT config, strict, CASE WHEN strict::text LIKE '%!%' THEN strict ELSE
            (replace(strict::text, ' & ', ' | ')
                || CASE WHEN right(strict::text, 1) = '''' THEN ':*' ELSE '' END)::tsquery END AS loose
        FROM asked
    ), best AS (
        SELECT t.*, q.loose, t.tsv @@ q.strict AS every_word, ts_rank_cd(t.tsv, q.loose) AS rank
        FROM script_texts t JOIN query q ON q.config = t.config
        WHERE t.tsv @@ q.loose AND t.offer_id = ANY(CAST(:offers AS text[]))
            AND (CAST(:channel AS text) IS NULL OR t.channel = :channel)
            AND (CAST(:language AS text) IS NULL OR split_part(lower(t.language), '-', 1) = :language)
        ORDER BY every_word DESC, rank DESC, t.offer_id, t.treatment_id, t.part, t.part_id
        LIMIT :limit
    )
    SELECT offer_id, treatment_id, channel, language, part, part_id, text, answer, every_word, rank::float AS rank,
        ts_headline(config::regconfig, concat_ws(E'\n', text, answer), loose, :options) AS snippet
    FROM best ORDER BY every_word DESC, rank DESC, offer_id, treatment_id, part, part_id
    """
)
_OPTIONS = f"StartSel={_OPEN},StopSel={_CLOSE},MinWords=8,MaxWords=30,MaxFragments=2"


@dataclass(frozen=True, slots=True)
class ScriptMatch:
    """A text that matches. ``part``: ``title``, ``message``, ``step`` or ``objection``; ``answer``: to an objection.

    ``part_id`` is the step's id or the objection's number from 0. ``every_word``: true if all words were found, not
    only some. ``rank`` is higher for better matches. ``snippet`` is HTML: what was found stands in ``<mark>``.
    """

    offer_id: str
    treatment_id: str
    channel: str
    language: str
    part: str
    part_id: str
    text: str
    answer: str | None
    every_word: bool
    rank: float
    snippet: str


async def index_treatment(
    connection: AsyncConnection, offer_id: str, treatment_id: str, body: Mapping[str, Any] | None
) -> None:
    """Replace the texts of a treatment in the index by those of ``body``; without a body, remove them."""
    await connection.execute(
        text("DELETE FROM script_texts WHERE offer_id = :offer_id AND treatment_id = :treatment_id"),
        {"offer_id": offer_id, "treatment_id": treatment_id},
    )
    rows = [] if body is None else _rows(offer_id, treatment_id, body)
    if rows:
        await connection.execute(_INSERT, rows)


async def rebuild_search(connection: AsyncConnection, offers: Iterable[Offer]) -> int:
    """Make the index again from all offers of a catalogue; returns the number of texts."""
    rows = [
        row
        for offer in offers
        for treatment in offer.treatments
        for row in _rows(offer.offer_id, treatment.treatment_id, asdict(treatment))
    ]
    await connection.execute(text("DELETE FROM script_texts"))
    if rows:
        await connection.execute(_INSERT, rows)
    return len(rows)


async def search_scripts(
    engine: AsyncEngine,
    words: str,
    offers: Sequence[str],
    channel: str | None = None,
    language: str | None = None,
    limit: int = 10,
) -> list[ScriptMatch]:
    """Search for ``words``, the best matches first: texts with all of the words before texts with some of them.

    Anything may be typed: ``"exact words"``, ``-without``, ``one or other``, and whatever else is ignored. Only
    ``offers`` are looked at, in one ``channel`` and ``language`` (of any region) if these are given.

    Raises ``PostgresUnavailable`` if Postgres does not answer.
    """
    # Texts are indexed in the configuration of their language, so words are read in each that may match.
    base = None if language is None else _base(language)
    configs = sorted({*_CONFIGS.values(), "simple"}) if base is None else [_CONFIGS.get(base, "simple")]
    parameters = {
        "words": clean_query(words),
        "configs": configs,
        "offers": list(offers),
        "channel": channel,
        "language": base,
        "limit": limit,
        "options": _OPTIONS,
    }
    async with transaction(engine) as connection:
        rows = (await connection.execute(_SEARCH, parameters)).mappings().all()
    return [ScriptMatch(**{**row, "snippet": _marked(row["snippet"])}) for row in rows]


def clean_query(words: str) -> str:
    """Remove from a query what Postgres cannot take, and cut it; may leave nothing."""
    return words.encode("utf-8", "replace").decode().translate(_NO_MARKS).strip()[:MAX_QUERY_CHARS]


def _rows(offer_id: str, treatment_id: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    language = body["language"]
    fallbacks = body.get("fallbacks") or {}
    shared = {
        "offer_id": offer_id,
        "treatment_id": treatment_id,
        "channel": body["channel"],
        "language": language,
        "config": _CONFIGS.get(_base(language), "simple"),
    }

    def indexed(source: str) -> str:
        return searchable_text(source, fallbacks).translate(_NO_MARKS)

    def row(part: str, part_id: str, source: str, answer: str | None = None) -> dict[str, Any]:
        return shared | {
            "part": part,
            "part_id": part_id,
            "text": indexed(source),
            "answer": None if answer is None else indexed(answer),
        }

    script = body.get("script") or {}
    rows = [row("title", "", body["title"]), row("message", "", body["message"])]
    rows += [row("step", s["step_id"], s["text"]) for s in script.get("steps", ())]
    rows += [
        row("objection", str(number), o["objection"], o["answer"])
        for number, o in enumerate(script.get("objections", ()))
    ]
    return [r for r in rows if r["text"].strip() or (r["answer"] or "").strip()]


def _base(language: str) -> str:
    return language.partition("-")[0].lower()


def _marked(snippet: str) -> str:
    return escape(snippet, quote=False).replace(_OPEN, "<mark>").replace(_CLOSE, "</mark>")

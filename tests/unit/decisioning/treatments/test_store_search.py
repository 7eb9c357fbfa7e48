"""Search over scripts, on a real Postgres."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

import migrations
from app.embedded.servers import EmbeddedServers
from decisioning.catalog.catalogue import Catalogue
from decisioning.model.entities import Group, Offer, Treatment
from decisioning.treatments.store_search import (
    ScriptMatch,
    clean_query,
    index_treatment,
    rebuild_search,
    search_scripts,
)
from rules.vocabulary import Attribute
from storage.postgres import make_engine, transaction
from tests.support.databases import database_url, execute

ENGLISH: dict[str, Any] = {
    "channel": "agent",
    "language": "en",
    "title": "Gold card, {{ customer.first_name }}",
    "message": "Costs nothing in the first year.",
    "fallbacks": {"customer.first_name": "dear customer"},
    "script": {
        "steps": [
            {"step_id": "open", "text": "Ask which shops they go to.", "when": None},
            {"step_id": "price", "text": "Name the yearly price.", "when": "customer.known"},
        ],
        "objections": [
            {"objection": "The price is too high", "answer": "The cashback pays for it & more in < 1 year."},
            {"objection": "I have a card already", "answer": "{{ offer.name }} can replace it."},
        ],
    },
}
SPANISH: dict[str, Any] = {
    "channel": "agent",
    "language": "es-MX",
    "title": "Tarjeta dorada",
    "message": "Sin costo el primer año.",
    "script": {
        "steps": [{"step_id": "abrir", "text": "Pregunte en qué tiendas compra."}],
        "objections": [{"objection": "El precio es muy alto", "answer": "El reembolso cubre la cuota."}],
    },
}
GERMAN: dict[str, Any] = {
    "channel": "web",
    "language": "de",
    "title": "Goldkarte",
    "message": "Der Preis ist hoch, die Preise fallen.",
}
TREATMENTS = {"gold": {"en": ENGLISH, "es": SPANISH, "de": GERMAN}, "silver": {"en": ENGLISH}}


@pytest.fixture
async def engine(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(postgres_url)
    async with transaction(engine) as connection:
        await connection.execute(text("DELETE FROM script_texts"))
        for offer_id, treatments in TREATMENTS.items():
            for treatment_id, body in treatments.items():
                await index_treatment(connection, offer_id, treatment_id, body)
    yield engine
    await engine.dispose()


async def found(engine: AsyncEngine, words: str, *offers: str, **where: Any) -> list[ScriptMatch]:
    return await search_scripts(engine, words, offers or ("gold",), **where)


def parts(results: list[ScriptMatch]) -> list[tuple[str, str]]:
    return [(f.part, f.part_id) for f in results]


async def test_what_agents_type_finds_the_objection_with_its_answer(engine: AsyncEngine) -> None:
    first, *others = await found(engine, "price too high", language="en")
    assert (first.part, first.part_id, first.every_word) == ("objection", "0", True)
    assert (first.text, first.answer) == (
        "The price is too high",
        "The cashback pays for it & more in < 1 year.",
    )
    assert [(f.part, f.part_id, f.every_word) for f in others] == [("step", "price", False)]


@pytest.mark.parametrize("words", ["price", "prices", "Pricing", "PRICED", "pri"])
async def test_english_words_are_stemmed_and_the_last_may_be_unfinished(
    engine: AsyncEngine, words: str
) -> None:
    assert ("objection", "0") in parts(await found(engine, words, language="en"))


@pytest.mark.parametrize("words", ["precio", "precios", "PRECIO ALTO", "precios altos"])
async def test_spanish_words_are_stemmed(engine: AsyncEngine, words: str) -> None:
    for language in ("es", "es-ES", None):
        results = await found(engine, words, language=language)
        assert (results[0].part, results[0].language) == ("objection", "es-MX")


async def test_other_languages_are_taken_by_the_word(engine: AsyncEngine) -> None:
    assert parts(await found(engine, "Preis", language="de")) == [("message", "")]
    assert parts(await found(engine, "Preises", language="de")) == []


async def test_offers_channel_and_language_narrow_the_search(engine: AsyncEngine) -> None:
    assert {f.offer_id for f in await found(engine, "price", "gold", "silver")} == {"gold", "silver"}
    assert {f.offer_id for f in await found(engine, "price", "silver")} == {"silver"}
    assert await search_scripts(engine, "price", []) == []
    assert {f.channel for f in await found(engine, "price preis")} == {"agent", "web"}
    assert {f.channel for f in await found(engine, "price preis", channel="web")} == {"web"}
    assert await found(engine, "price", language="es") == []
    assert len(await found(engine, "price", "gold", "silver", limit=1)) == 1


async def test_quotes_exclusions_and_alternatives_are_understood(engine: AsyncEngine) -> None:
    assert parts(await found(engine, '"yearly price"', language="en")) == [("step", "price")]
    assert parts(await found(engine, "price -high", language="en")) == [("step", "price")]
    both = await found(engine, "shops or already", language="en")
    assert set(parts(both)) == {("step", "open"), ("objection", "1")}


async def test_snippets_mark_what_was_found_and_are_safe_html(engine: AsyncEngine) -> None:
    (first, *_) = await found(engine, "cashback", language="en")
    assert "<mark>cashback</mark>" in first.snippet
    assert "&amp; more in &lt; 1 year" in first.snippet


async def test_variables_are_found_by_their_fallbacks(engine: AsyncEngine) -> None:
    (title,) = await found(engine, "dear customer", language="en")
    assert title.text == "Gold card, dear customer"
    replace = [f for f in await found(engine, "replace", language="en") if f.part == "objection"]
    assert replace[0].answer == "… can replace it."


async def test_a_treatment_is_found_as_it_was_saved_last(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await index_treatment(connection, "gold", "en", ENGLISH | {"title": "Platinum", "script": None})
    assert parts(await found(engine, "platinum")) == [("title", "")]
    assert await found(engine, "cashback") == []
    async with transaction(engine) as connection:
        await index_treatment(connection, "gold", "en", None)
    assert await found(engine, "platinum") == []
    assert {f.treatment_id for f in await found(engine, "tarjeta")} == {"es"}


async def test_the_index_can_be_rebuilt_from_the_catalogue(engine: AsyncEngine) -> None:
    async def rows() -> list[Any]:
        async with transaction(engine) as connection:
            result = await connection.execute(text("SELECT * FROM script_texts ORDER BY 1, 2, 6, 7"))
            return [tuple(row) for row in result]

    before = await rows()
    async with transaction(engine) as connection:
        await connection.execute(text("DELETE FROM script_texts WHERE part <> 'title'"))
        assert await rebuild_search(connection, _catalogue().offers.values()) == len(before)
    assert await rows() == before


def _catalogue() -> Catalogue:
    made = TypeAdapter(Treatment)
    return Catalogue(
        version=1,
        groups={"cards": Group("cards", "Cards", "grow")},
        attributes={"customer.first_name": Attribute("customer.first_name", "string")},
        offers={
            offer_id: Offer(
                offer_id,
                number,
                offer_id,
                "cards",
                1.0,
                treatments=tuple(made.validate_python(b | {"treatment_id": t}) for t, b in bodies.items()),
            )
            for number, (offer_id, bodies) in enumerate(TREATMENTS.items(), start=1)
        },
    )


STRANGE = [
    *(
        "",
        " ",
        "'",
        "''",
        '"',
        "\\",
        "!",
        "!!",
        "-",
        "--",
        "& |",
        "<->",
        "a <-> b",
        ":*",
        "a:*",
        "a & !b",
        "(",
        "a)",
    ),
    *(
        "the",
        "or",
        "or or",
        "-price",
        "%",
        "_",
        "';DROP TABLE script_texts;--",
        "\x00",
        "pri\x00ce",
        "\ud800",
    ),
    *("😀", "\ue000", "a/b?c&d=e", "x'y\\z", "http://example.com/?a=1&b='2'", "é" * 5000, "a" * 100_000),
    *("a " * 50_000, "٣", "<b>", "{{ x }}", ":words", "$1", "price\n\thigh", "AND OR NOT", "e-mail", "1.5e3"),
]


@pytest.mark.parametrize("words", STRANGE)
async def test_nothing_that_is_typed_is_an_error(engine: AsyncEngine, words: str) -> None:
    for language in (None, "en", "es", "xx"):
        await found(engine, words, language=language)


@settings(max_examples=150)
@given(words=st.lists(st.text(alphabet=" '\"\\&|!<->():*abc\x00é-", max_size=40), min_size=1, max_size=20))
def test_no_combination_of_signs_is_an_error(words: list[str], postgres_url: str) -> None:
    async def run() -> None:
        engine = make_engine(postgres_url)
        try:
            for typed in words:
                await search_scripts(engine, typed, ["gold"])
        finally:
            await engine.dispose()

    asyncio.run(run())


def test_cleaning_leaves_nothing_of_nothing() -> None:
    assert [clean_query(w) for w in ("", " \n", "\x00", "\ue000\ue001", " a\x00b ")] == ["", "", "", "", "ab"]


def test_the_migration_indexes_what_had_been_saved_before(servers: EmbeddedServers) -> None:
    execute(servers, "CREATE DATABASE nb_scripts_migration")
    url = database_url(servers, "nb_scripts_migration")
    migrations.upgrade(url, "0003")

    async def fill() -> None:
        entries: list[tuple[str, Any]] = [
            ("gold/en", {"channel": "web", "language": "en-GB", "title": "Old", "message": "Old"}),
            ("gold/en", {"channel": "web", "language": "en-GB", "title": "Prices", "message": " "}),
            ("gold/es", {"channel": "web", "language": "es", "title": "Precios", "message": "Altos"}),
            ("gold/de", {"channel": "web", "language": "de", "title": "Preise", "message": "Hoch"}),
            ("gold/de", None),
        ]
        engine = make_engine(url)
        async with transaction(engine) as connection:
            for version, (name, body) in enumerate(entries, start=1):
                await connection.execute(
                    text(
                        "INSERT INTO catalog_entries (version, kind, id, body, author)"
                        " VALUES (:version, 'treatment', :name, cast(:body AS jsonb), 'x')"
                    ),
                    {"version": version, "name": name, "body": None if body is None else json.dumps(body)},
                )
        await engine.dispose()

    async def rows() -> list[tuple[Any, ...]]:
        engine = make_engine(url)
        async with transaction(engine) as connection:
            result = await connection.execute(
                text("SELECT treatment_id, config, part, text FROM script_texts ORDER BY 1, 3")
            )
            found = [tuple(row) for row in result]
        await engine.dispose()
        return found

    asyncio.run(fill())
    migrations.upgrade(url, "0004")
    assert asyncio.run(rows()) == [
        ("en", "english", "title", "Prices"),
        ("es", "spanish", "message", "Altos"),
        ("es", "spanish", "title", "Precios"),
    ]
    migrations.downgrade(url, "0003")
    execute(servers, "DROP DATABASE nb_scripts_migration WITH (FORCE)")

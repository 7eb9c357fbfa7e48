"""Customers under ids of earlier versions: found, moved to their normal ids, and removed."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from profiles.customer_id import BLANKS, normal_customer_id
from profiles.store import ProfileStore
from profiles.store_ids import OddId, mend_odd_ids, read_odd_ids
from profiles.store_suppressions import SuppressionStore

FIRST = (
    "INSERT INTO customers (customer_id, attributes, consents)"
    " VALUES (:id, CAST(:attributes AS jsonb), CAST(:consents AS jsonb))"
)


async def test_what_is_stored_under_other_ids_is_moved_and_nothing_that_limits_contact_is_lost(
    engine: AsyncEngine, store: ProfileStore
) -> None:
    rows = [
        ("Jose\u0301", '{"n": 1}', '{"ads": ["web", "!sms"], "calls": []}'),
        ("José", '{"n": 2}', '{"ads": ["sms", "email"]}'),
        ("c1\n", '{"n": 3}', '{"ads": ["web"]}'),
        ("c\n2", '{"n": 4}', "{}"),
        ("plain", '{"n": 5}', "{}"),
    ]
    async with engine.begin() as connection:
        await connection.execute(text("TRUNCATE customers, propensities, suppressions"))
        for id_, attributes, consents in rows:
            await connection.execute(text(FIRST), {"id": id_, "attributes": attributes, "consents": consents})
        for id_, until in (("José", "'2030-01-01'"), ("Jose\u0301", "NULL"), ("c1\n", "'2030-01-01'")):
            suppress = f"INSERT INTO suppressions (list_id, customer_id, reason, until) VALUES ('l', :id, '', {until})"
            await connection.execute(text(suppress), {"id": id_})
        scores = "INSERT INTO propensities (customer_id, scores) VALUES (:id, '{}')"
        await connection.execute(text(scores), {"id": "\u00a0only scores"})
    odd = await read_odd_ids(engine)
    assert odd == [
        OddId("Jose\u0301", "José"),
        OddId("c\n2", None),
        OddId("c1\n", "c1"),
        OddId("\u00a0only scores", "only scores"),
    ]
    assert await mend_odd_ids(engine, store.cache) == odd
    assert await read_odd_ids(engine) == []
    assert await mend_odd_ids(engine, store.cache) == []
    found = {}
    for id_ in ("José", "c1", "plain"):
        profile = await store.load(id_, {})
        assert profile is not None
        customer = profile.customer
        found[id_] = (
            customer.attributes["n"],
            customer.consents,
            [s.until_ms for s in customer.suppressions or ()],
        )
    assert found == {
        "José": (2, {"ads": ("email", "!sms"), "calls": ("!*",)}, [None]),
        "c1": (3, {"ads": ("web",)}, [1893456000000]),
        "plain": (5, {}, []),
    }
    assert await store.load("only scores", {}) is not None
    assert await SuppressionStore(engine, store.cache).delete("l", "c1", author="test")


async def test_postgres_and_python_agree_on_the_one_form(engine: AsyncEngine) -> None:
    ids: list[str] = []
    characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")

    @given(st.text(characters | st.sampled_from([*BLANKS, "\u0301", "e", "\n", "\x85"]), max_size=6))
    @settings(max_examples=500)
    def collect(id_: str) -> None:
        ids.append(id_)

    collect()
    statement = text(
        "SELECT normal_customer_id(id)"
        " FROM unnest(CAST(:ids AS text[])) WITH ORDINALITY AS i (id, place) ORDER BY place"
    )
    async with engine.connect() as connection:
        found = (await connection.execute(statement, {"ids": ids})).scalars().all()
    for id_, in_postgres in zip(ids, found, strict=True):
        try:
            in_python: str | None = normal_customer_id(id_)
        except ValueError:
            in_python = None
        if in_python is not None or not re.search("[\t\n\v\f\r\x85\u2028\u2029]", id_):
            assert in_postgres == in_python, ascii(id_)

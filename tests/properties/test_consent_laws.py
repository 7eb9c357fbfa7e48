"""Laws of consents and objections: what a file does not name stays, in Python and in Postgres alike."""

import json
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from profiles.consents import Change, join_entries, read_statement, split_entries
from profiles.customer import has_consent, has_objection
from profiles.importing.consent_columns import changes_json
from profiles.importing.run import open_customers
from profiles.store_bulk import customer_rows

CHANNELS = ("email", "sms", "web")
NAMES = (*CHANNELS, "*")
ENTRIES = (*NAMES, *(f"!{name}" for name in NAMES))

entries = st.none() | st.lists(st.sampled_from(ENTRIES), unique=True, max_size=5).map(tuple)
statements = st.lists(st.sampled_from((*ENTRIES, "none")), max_size=4)


def read(said: Sequence[str]) -> Change | None:
    """The change of a statement; ``None`` if it is refused or says nothing."""
    change = read_statement(said, CHANNELS)
    return change if isinstance(change, Change) else None


@given(entries, statements)
def test_an_objection_that_is_not_named_stays(before: tuple[str, ...] | None, said: list[str]) -> None:
    change = read(said)
    after = before if change is None else change.apply(before)
    objections = ("!*",) if before == () else tuple(e for e in before or () if e.startswith("!"))
    for objection in objections:
        if objection.removeprefix("!") not in said:
            assert after is not None
            assert objection in after or after == ()


@given(entries, statements)
def test_what_is_named_is_in_force(before: tuple[str, ...] | None, said: list[str]) -> None:
    change = read(said)
    if change is None:
        return
    after = change.apply(before)
    for channel in CHANNELS:
        if channel in said:
            assert has_consent(after, channel)
        if f"!{channel}" in said:
            assert has_objection(after, channel)
            assert not has_consent(after, channel)
        if "!*" in said and channel not in said:
            assert has_objection(after, channel)
        if "none" in said and not any(item in said for item in NAMES):
            assert not has_consent(after, channel)
    assert change.apply(after) == after or set(change.apply(after) or ()) == set(after or ())


@given(entries, st.lists(statements, max_size=4))
def test_changes_one_after_the_other_are_one_change(
    before: tuple[str, ...] | None, said: list[list[str]]
) -> None:
    changes = [change for change in map(read, said) if change is not None]
    one_by_one, together = before, Change()
    for change in changes:
        one_by_one = change.apply(one_by_one)
        together = together.then(change)
    assert not changes or set(together.apply(before) or ()) == set(one_by_one or ())


@given(entries)
def test_no_channel_is_both_agreed_and_objected_to(some: tuple[str, ...] | None) -> None:
    for channel in CHANNELS:
        assert not (has_consent(some, channel) and has_objection(some, channel))


@given(st.dictionaries(st.sampled_from("abc"), entries.filter(lambda some: some is not None)))
def test_what_is_told_of_a_customer_can_be_stored_again(stored: dict[str, tuple[str, ...]]) -> None:
    again = join_entries(*split_entries(stored))
    assert again.keys() == stored.keys()
    for purpose, some in stored.items():
        for channel in (*CHANNELS, "later"):
            assert has_consent(again[purpose], channel) is has_consent(some, channel)
            assert has_objection(again[purpose], channel) is has_objection(some, channel)


@given(st.lists(st.sampled_from(["", "|", " ", *ENTRIES, "none", "email|web", "!sms|email"]), max_size=6))
@settings(max_examples=50)
def test_rows_of_one_customer_say_what_they_say_one_after_the_other(cells: list[str]) -> None:
    data = "customer_id,consents.ads\n" + "".join(f"c,{cell}\n" for cell in cells) + "other,\n"
    (batch,) = open_customers(data.encode(), "csv", CHANNELS).batches()
    rows = {row["customer_id"]: row for row in customer_rows(batch).to_pylist()}
    expected = None
    for cell in cells:
        change = read([item for item in cell.split("|") if item.strip()])
        expected = expected if change is None else change.apply(expected)
    if cells:
        found = json.loads(rows["c"]["consents"]).get("ads")
        assert set(found or ()) == set(expected or ())


async def test_postgres_changes_consents_as_python_does(postgres_url: str) -> None:
    cases: list[tuple[tuple[str, ...] | None, Change]] = []

    @given(entries, statements)
    @settings(max_examples=300)
    def collect(before: tuple[str, ...] | None, said: list[str]) -> None:
        if (change := read(said)) is not None:
            cases.append((before, change))

    collect()
    engine = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
    statement = text(
        "SELECT consents_after(CAST(stored AS jsonb), CAST(changes AS jsonb))::text"
        " FROM unnest(CAST(:stored AS text[]), CAST(:changes AS text[])) WITH ORDINALITY AS c (stored, changes, place)"
        " ORDER BY place"
    )
    kept = {"kept": ["!sms"]}
    stored = [json.dumps(kept if before is None else kept | {"ads": before}) for before, _ in cases]
    changes = [changes_json({"ads": change}) for _, change in cases]
    async with engine.connect() as connection:
        found = (await connection.execute(statement, {"stored": stored, "changes": changes})).scalars().all()
    await engine.dispose()
    assert len(found) == len(cases) > 50
    for (before, change), after in zip(cases, found, strict=True):
        expected = change.apply(before)
        ads = {} if expected is None else {"ads": list(expected)}
        assert json.loads(after) == kept | ads, (before, change)

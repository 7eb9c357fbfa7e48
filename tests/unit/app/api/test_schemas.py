"""Values that travel over HTTP: instants, texts and numbers at their borders."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from app.api.catalogue.offer_schemas import OfferBody
from app.api.customers.schemas import CustomerBody
from app.api.decisions.schemas import check_context
from app.api.schemas import Id, Instant, Worth, storable
from decisioning.model.entities import FOREVER_MS
from storage.clock import floor_ms, to_datetime

UTC_INSTANTS = st.datetimes(timezones=st.just(UTC))


class Thing(BaseModel):
    """One of each."""

    at: Instant | None = None
    name: Id | None = None
    worth: Worth | None = None


def fails(field: str, value: Any) -> str:
    """Return the message with which a value is refused."""
    with pytest.raises(ValidationError) as caught:
        Thing.model_validate({field: value})
    return str(caught.value.errors()[0]["msg"])


@given(UTC_INSTANTS)
def test_milliseconds_and_back(at: datetime) -> None:
    assert to_datetime(floor_ms(at)) == at.replace(microsecond=at.microsecond // 1000 * 1000)


@given(UTC_INSTANTS, st.integers(-14 * 60, 14 * 60))
def test_an_instant_is_the_same_in_every_zone(at: datetime, minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    try:
        text = at.astimezone(zone).isoformat()
    except OverflowError:
        return
    assert Thing.model_validate({"at": text}).at == at


@pytest.mark.parametrize(
    "value", [0, 1.5, True, "0", "1767225600", "2026-03-01", "now", "", [], b"2026", "٢026-03-01T00:00"]
)
def test_what_is_no_instant(value: Any) -> None:
    assert "such as 2026-03-01T00:00:00Z" in fails("at", value)


def test_instants_have_a_zone_and_lie_in_the_calendar() -> None:
    assert "timezone" in fails("at", "2026-03-01T00:00:00")
    assert "years 1 to 9999" in fails("at", "0001-01-01T00:00:00+00:01")
    assert "years 1 to 9999" in fails("at", "9999-12-31T23:59:59-00:01")


@pytest.mark.parametrize("value", ["a", "A9", "0", "a.b-c_d", "x" * 64])
def test_ids(value: str) -> None:
    assert Thing.model_validate({"name": value}).name == value


@pytest.mark.parametrize(
    "value", ["", "a\n", "\na", "a b", ".a", "-a", "_a", "ä", "a/b", "x" * 65, "a\x00", "a:b"]
)
def test_what_is_no_id(value: str) -> None:
    assert fails("name", value)


@pytest.mark.parametrize("value", [-1e-9, 1.0000001e15, float("nan"), float("inf"), float("-inf")])
def test_worth_is_bounded(value: float) -> None:
    assert fails("worth", value)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_text_is_storable(text: str) -> None:
    assert storable(text) == text


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "x\udfff"])
def test_text_that_is_not_storable(text: str) -> None:
    with pytest.raises(ValueError, match="must not contain"):
        storable(text)


def test_an_offer_without_dates_is_always_live() -> None:
    stored = OfferBody(name="x", group="g").stored()
    assert (stored["starts_ms"], stored["ends_ms"]) == (0, FOREVER_MS)


@pytest.mark.parametrize("value", [None, [], {}, 10**400, float("inf"), "x" * 1001, "\x00", "\ud800", b"x"])
def test_attributes_are_texts_numbers_or_flags(value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        CustomerBody.model_validate({"attributes": {"age": value}})
    assert caught.value.errors()[0]["loc"] == ("attributes", "age")


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        ({"a": float("nan")}, "finite"),
        ({"a": [{"b": float("-inf")}]}, "finite"),
        ({"a\x00": 1}, "NUL"),
        ({"a": ["\x00"]}, "NUL"),
        ({"a": {"b": "\ud800"}}, "surrogate"),
    ],
)
def test_contexts_that_cannot_be_logged(context: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_context(context, 100, 10)


def test_contexts_that_are_too_large_or_too_deep() -> None:
    with pytest.raises(ValueError, match="11 bytes; at most 10"):
        check_context({}, 10, 11)
    deep: Any = 0
    for _ in range(16):
        deep = {"a": deep}
    check_context(deep, 10, 10)
    with pytest.raises(ValueError, match="16 levels"):
        check_context({"a": deep}, 10, 10)

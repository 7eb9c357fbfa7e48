"""Values that travel over HTTP: instants, texts and numbers at their borders."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from app.api.schemas import Id, Instant, Worth, storable
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
    assert "no time zone: write 2026-03-01T00:00:00Z" in fails("at", "2026-03-01T00:00:00")
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

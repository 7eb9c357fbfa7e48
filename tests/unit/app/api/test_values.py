"""A text that is not of its form is explained in words, with what to write, and never by a regular expression."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.api.catalogue.event_schemas import Duration
from app.api.catalogue.field_types import Clock, Language, Seconds, TimeZone
from app.api.catalogue.kind_schemas import AttributePath, Percent, QuietHoursBody
from app.api.customers.schemas import Channel
from app.api.evaluations.schemas import PolicyKey
from app.api.policies.schemas import PolicyName
from app.api.schemas import Id, Instant, PlainName
from app.api.values import explain_mismatch, is_registered
from app.catalog_check import check_entry
from app.config import Settings
from app.errors import reason_of
from app.main import create_app


def reason(kind: Any, value: object) -> str:
    """Say what is wrong with a value, as an answer does."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value, strict=True)
    return reason_of(caught.value.errors(include_url=False)[0])


def patterns_in(schema: Any) -> Iterator[str]:
    """All patterns of a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from patterns_in(part)


def test_every_form_that_the_documentation_shows_is_explained() -> None:
    patterns = set(patterns_in(create_app(Settings()).openapi()))
    assert len(patterns) > 5
    assert [pattern for pattern in patterns if not is_registered(pattern)] == []


@pytest.mark.parametrize(
    ("kind", "value", "proposed"),
    [
        (Clock, "9 pm", "21:00"),
        (Clock, "9pm", "21:00"),
        (Clock, "9:30 p.m.", "21:30"),
        (Clock, "12 am", "00:00"),
        (Clock, "12 pm", "12:00"),
        (Clock, "21h", "21:00"),
        (Clock, "9:00", "09:00"),
        (Clock, "21.30", "21:30"),
        (Clock, "21:30:00", "21:30"),
        (Clock, "24:00", "00:00"),
        (Clock, "noon", "12:00"),
        (Clock, "midnight", "00:00"),
        (TimeZone, "Madrid", "Europe/Madrid"),
        (TimeZone, "europe/madrid", "Europe/Madrid"),
        (TimeZone, "New York", "America/New_York"),
        (TimeZone, "Europe/Madird", "Europe/Madrid"),
        (Id, "Gold Card", "Gold-Card"),
        (Id, "ñandú", "nandu"),
        (Id, "-gold", "gold"),
        (PlainName, "of-age", "of_age"),
        (AttributePath, "age", "customer.age"),
        (AttributePath, "customer.first-name", "customer.first_name"),
        (PolicyName, "My Policy", "my-policy"),
        (PolicyKey, "calibrated", "calibrated@1"),
        (Language, "de_CH", "de-CH"),
        (Channel, "all channels", "*"),
        (Seconds, "7 days", "604800"),
        (Seconds, "P7D", "604800"),
        (Seconds, "2h", "7200"),
        (Seconds, "604800", "604800"),
        (Duration, "7 days", "7d"),
        (Duration, "2 weeks", "14d"),
        (Duration, "PT30M", "30m"),
        (Duration, "1 min", "1m"),
        (Percent, "25 %", "25"),
        (Percent, "1,5", "1.5"),
        (Instant, "2026-03-01", "2026-03-01T00:00:00Z"),
        (Instant, "2026-03-01T10:00:00", "2026-03-01T10:00:00Z for UTC"),
    ],
)
def test_what_to_write_is_said(kind: Any, value: str, proposed: str) -> None:
    assert f": write {proposed}" in reason(kind, value)


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (Clock, "late", "must be a time of day"),
        (Clock, "25:00", "must be a time of day"),
        (TimeZone, "somewhere", "there is no time zone 'somewhere'"),
        (Id, "x" * 65, "64 at most"),
        (Id, "", "begin with a letter or digit"),
        (Duration, "soon", "must be a length of time such as 30m, 24h or 7d"),
        (Duration, "0d", "must be a length of time"),
        (Duration, "1,5h", "must be a length of time"),
        (Seconds, "soon", "must be a whole number of seconds"),
        (Percent, "a lot", "must be a number of percent"),
        (PolicyKey, "My@0", "a policy and its version"),
    ],
)
def test_nothing_is_proposed_where_nothing_can_be_guessed(kind: Any, value: str, words: str) -> None:
    found = reason(kind, value)
    assert words in found
    assert ": write" not in found
    assert "pattern" not in found


def test_other_errors_are_left_alone() -> None:
    assert explain_mismatch({"type": "missing", "msg": "Field required"}) is None


def test_files_get_the_same_words() -> None:
    for kind, name, body, words in (
        ("quiet_hours", "night", {"start": "9 pm", "end": "08:00"}, "write 21:00"),
        ("quiet_hours", "the night", {"start": "21:00", "end": "08:00"}, "write the-night"),
        ("contact_policy", "x", {"name": "x", "max": 1, "window_s": "7d"}, "write 604800"),
    ):
        with pytest.raises(ValidationError) as caught:
            check_entry(kind, name, body)
        assert words in str(caught.value.errors()[0]["msg"])


def test_good_values_are_taken_as_they_are() -> None:
    body = QuietHoursBody(start="21:00", end="08:00", time_zone="Europe/Madrid")
    assert (body.start, body.time_zone) == ("21:00", "Europe/Madrid")
    assert TypeAdapter(Seconds).validate_python(7, strict=True) == 7

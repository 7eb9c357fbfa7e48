"""Consents and objections: what entries mean, and what a statement changes in them."""

import pytest

from profiles import consents
from profiles.consents import (
    CONTRADICTS,
    NONE_AND_MORE,
    NOT_CHANNELS,
    Change,
    join_entries,
    read_statement,
    split_entries,
    unknown_channel,
)
from profiles.customer import has_consent, has_objection

CHANNELS = {"email", "sms", "web"}
Entries = tuple[str, ...] | None


@pytest.mark.parametrize(
    ("entries", "agreed", "objected"),
    [
        (None, False, False),
        ((), False, True),  # the form from before there were objections by channel
        (("email",), False, False),
        (("sms",), True, False),
        (("*",), True, False),
        (("!sms",), False, True),
        (("!*",), False, True),
        (("!email",), False, False),
        (("*", "!sms"), False, True),
        (("!*", "sms"), True, False),
        (("sms", "!sms"), False, True),
        (("*", "!*"), False, True),
    ],
)
def test_a_named_channel_is_stronger_than_all_and_an_objection_than_consent(
    entries: Entries, agreed: bool, objected: bool
) -> None:
    assert has_consent(entries, "sms") is agreed
    assert has_objection(entries, "sms") is objected


@pytest.mark.parametrize(
    ("before", "said", "after"),
    [
        (None, ["email", "web"], ("email", "web")),
        (("web",), ["email"], ("email",)),
        (("web", "!sms"), ["email"], ("!sms", "email")),
        (("web", "!sms"), ["sms"], ("sms",)),
        (("!sms", "!*"), ["*"], ("!sms", "*")),
        (("web", "sms"), ["!sms"], ("web", "!sms")),
        (("web", "sms"), ["!*"], ("!*",)),
        (("web", "!sms"), ["none"], ("!sms",)),
        (("web",), ["none"], None),
        ((), ["none"], ("!*",)),
        ((), ["email"], ("!*", "email")),
        ((), ["*"], ("*",)),
        (("*",), ["email", "!*"], ("email", "!*")),
    ],
)
def test_a_statement_changes_what_it_names(before: Entries, said: list[str], after: Entries) -> None:
    change = read_statement(said, CHANNELS)
    assert isinstance(change, Change)
    assert change.apply(before) == after


def test_nothing_said_changes_nothing() -> None:
    assert read_statement([], CHANNELS) is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        *(
            (item, unknown_channel(CHANNELS))
            for item in ("Web", "web;email", "all", "sí", "x", "yes", "!", "!!sms")
        ),
        ("email|!email", CONTRADICTS),
        ("none|email", NONE_AND_MORE),
    ],
)
def test_what_cannot_be_understood_is_refused(said: str, reason: str) -> None:
    assert read_statement(said.split("|"), CHANNELS) == reason


@pytest.mark.parametrize("said", ["yes", "TRUE", "0", "!", "!no"])
def test_yes_and_no_name_no_channels_whatever_channels_there_are(said: str) -> None:
    assert read_statement([said], None) == NOT_CHANNELS


def test_entries_are_told_as_consents_and_objections() -> None:
    entries = {"a": ("web", "!sms"), "b": ("!*",), "c": (), "d": ("*",)}
    said, against = split_entries(entries)
    assert said == {"a": ["web"], "c": [], "d": ["*"]}
    assert against == {"a": ["sms"], "b": ["*"], "c": ["*"]}
    assert join_entries(said, against) == {"a": ("web", "!sms"), "c": ("!*",), "d": ("*",), "b": ("!*",)}
    assert join_entries({"m": []}, {"m": ["sms"]}) == {"m": ("!*", "!sms")}
    assert consents.OBJECTION_TO_ALL == ("!*",)

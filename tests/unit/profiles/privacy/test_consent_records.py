"""What holds after consents and objections: the newest statement of each channel, in whatever order they came."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.customer import Entries, has_consent, has_objection
from profiles.privacy.consent_records import (
    ENDS_BEFORE,
    ENDS_NOTHING,
    IN_THE_FUTURE,
    End,
    Stated,
    Statement,
    entries_after,
    statement_problem,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=50)
CHANNELS = ("email", "sms", "*")


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def said(kind: str, at: int, *, given: bool = True, channel: str = "email", end: int | None = None) -> Stated:
    return Stated(kind, channel, given, day(at), None if end is None else day(end))


stated = st.builds(
    said,
    st.sampled_from(["consent", "objection"]),
    st.integers(0, 5),
    given=st.booleans(),
    channel=st.sampled_from(CHANNELS),
    end=st.none() | st.integers(45, 55),
).map(
    lambda one: (
        one if one.kind == "consent" and one.given else Stated(one.kind, one.channel, one.given, one.at)
    )
)


def fold(groups: list[list[Stated]]) -> tuple[set[str], dict[str, End]]:
    """The entries and ends after statements that came one group after the other."""
    entries: Entries | None = None
    known: list[Stated] = []
    ends: dict[str, End | None] = {}
    for group in groups:
        known += group
        entries, new = entries_after(entries, known, {one.channel for one in group}, NOW)
        ends |= new
    return set(entries or ()), {channel: end for channel, end in ends.items() if end is not None}


@given(
    st.lists(stated, max_size=6).flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))),
    st.data(),
)
def test_the_order_of_arrival_does_not_matter(
    both: tuple[list[Stated], list[Stated]], data: st.DataObject
) -> None:
    some, others = both
    cuts = sorted(data.draw(st.lists(st.integers(0, len(others)), max_size=3)))
    groups = [others[start:end] for start, end in pairwise([0, *cuts, len(others)]) if start < end]
    assert fold([some] if some else []) == fold(groups)


@given(st.lists(stated, max_size=6), st.sampled_from(["email", "sms"]))
def test_a_consent_holds_only_if_it_is_newer_than_all_against_it(some: list[Stated], channel: str) -> None:
    entries = tuple(fold([some] if some else [])[0]) or None

    def newest(kind: str, name: str) -> Stated | None:
        found = [one for one in some if one.kind == kind and one.channel == name]
        less = kind == "objection"
        far = day(99)
        return max(
            found,
            key=lambda one: (one.at, one.given is less, far - (one.expires_at or far)),
            default=None,
        )

    def holds(name: str) -> bool:
        consent = newest("consent", name)
        if consent is None or not consent.given or (consent.expires_at and consent.expires_at <= NOW):
            return False
        against = [newest("objection", name), newest("objection", "*")]
        withdrawn = newest("consent", "*")
        return all(one is None or not one.given or one.at < consent.at for one in against) and (
            withdrawn is None or withdrawn.given or withdrawn.at < consent.at
        )

    own, for_all = newest("objection", channel), newest("objection", "*")
    mine = newest("consent", channel)
    uncovered = mine is not None and not mine.given and holds("*")
    objected = not holds(channel) and (uncovered or (own is not None and own.given))
    assert has_consent(entries, channel) is (holds(channel) or (holds("*") and not objected))
    if objected:
        assert has_objection(entries, channel)
    if for_all is not None and for_all.given and not holds("*") and not holds(channel):
        assert has_objection(entries, channel)


def test_an_objection_that_is_newer_beats_a_consent_that_arrives_later() -> None:
    assert fold([[said("objection", 2)], [said("consent", 1)]])[0] == {"!email"}
    assert fold([[said("consent", 1)], [said("objection", 2)]])[0] == {"!email"}
    assert fold([[said("objection", 1)], [said("consent", 2)]])[0] == {"email"}


def test_of_two_at_the_same_time_the_objection_holds() -> None:
    assert fold([[said("objection", 1)], [said("consent", 1)]])[0] == {"!email"}
    assert fold([[said("consent", 1)], [said("consent", 1, given=False)]])[0] == set()
    assert fold([[said("objection", 1)], [said("objection", 1, given=False)]])[0] == {"!email"}


def test_an_objection_to_all_channels_takes_older_consents_away() -> None:
    named = [said("consent", 1), said("consent", 3, channel="sms")]
    assert fold([named, [said("objection", 2, channel="*")]])[0] == {"sms", "!*"}


def test_a_consent_to_all_channels_does_not_cover_the_one_that_it_is_withdrawn_for() -> None:
    withdrawn = said("consent", 2, given=False)
    assert fold([[said("consent", 1, channel="*")], [withdrawn]])[0] == {"*", "!email"}
    assert fold([[withdrawn], [said("consent", 3, channel="*")]])[0] == {"*", "!email"}
    assert fold([[withdrawn]])[0] == set()


def test_an_expired_consent_is_no_consent_and_an_older_objection_holds_again() -> None:
    assert fold([[said("consent", 1, end=49)]]) == (set(), {})
    assert fold([[said("objection", 0), said("consent", 1, end=49)]]) == ({"!email"}, {})
    assert fold([[said("objection", 0), said("consent", 1, end=51)]]) == (
        {"email"},
        {"email": End(day(51), True)},
    )
    assert fold([[said("consent", 1, end=51)], [said("consent", 2)]]) == ({"email"}, {})


def test_channels_of_which_nothing_new_is_said_stay() -> None:
    after, ends = entries_after(("web", "!sms"), [said("consent", 1)], ["email"], NOW)
    assert (after, ends) == (("web", "!sms", "email"), {"email": None})
    assert entries_after((), [said("consent", 1)], ["email"], NOW)[0] == ("!*", "email")
    assert entries_after(None, [said("consent", 1, given=False)], ["email"], NOW)[0] is None
    all_against = entries_after(("web",), [said("objection", 1, channel="*")], ["*"], NOW)[0]
    assert all_against == ("!*",)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        (Statement("consent", "ads", "email", True, day(51)), ("at", IN_THE_FUTURE)),
        (Statement("consent", "ads", "email", True, day(50)), None),
        (Statement("consent", "ads", "email", True, day(1), expires_at=day(1)), ("expires_at", ENDS_BEFORE)),
        (Statement("consent", "ads", "email", True, expires_at=day(49)), ("expires_at", ENDS_BEFORE)),
        (Statement("consent", "ads", "email", False, expires_at=day(60)), ("expires_at", ENDS_NOTHING)),
        (Statement("objection", "ads", "email", True, expires_at=day(60)), ("expires_at", ENDS_NOTHING)),
        (Statement("consent", "ads", "email", True, day(1), expires_at=day(2)), None),
    ],
)
def test_times_that_cannot_be_are_named(statement: Statement, problem: tuple[str, str] | None) -> None:
    assert statement_problem(statement, NOW) == problem

"""What is usual among all customers: the distribution, and how far one customer is off it."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.events.declared import Aggregate
from profiles.events.definitions import NO_DEFINITIONS, field_name, prepare, selected
from profiles.events.fold import State, fold
from profiles.events.population import MIN_CUSTOMERS, Survey, Usual, compared_with_all
from profiles.events.reading import MAX_DEVIATION, read_aggregates
from tests.support.events import DAY_MS, NOW_MS, call

CALLS = Aggregate("calls", "call", "deviation", window="7d", against="all")
TALK = Aggregate("talk", "call", "deviation", property="minutes", of="sum", window="7d", against="all")
LENGTH = Aggregate("length", "call", "deviation", property="minutes", of="mean", window="7d", against="all")
DEFINITIONS = prepare([CALLS, TALK, LENGTH])


def told(*minutes: float, days: int = 1) -> State:
    """The state of a customer with calls of these lengths."""
    return fold(
        DEFINITIONS, [call(f"e{n}", NOW_MS - days * DAY_MS, minutes=each) for n, each in enumerate(minutes)]
    )


@given(st.lists(st.lists(st.integers(-1000, 1000), min_size=1, max_size=5), min_size=2, max_size=50))
def test_the_distribution_is_that_of_plain_lists_and_how_far_one_is_off_it(people: list[list[int]]) -> None:
    survey = Survey(DEFINITIONS, NOW_MS)
    for minutes in people:
        survey.add(told(*minutes))
    survey.add({})  # who has no events is no part of it
    found = survey.result()
    plain = {CALLS: [float(len(m)) for m in people], TALK: [float(sum(m)) for m in people]}
    plain[LENGTH] = [sum(m) / len(m) for m in people]
    for aggregate, values in plain.items():
        usual = found[field_name(aggregate, "u")]
        assert (usual.customers, usual.at_ms) == (len(people), NOW_MS)
        assert usual.mean == pytest.approx(statistics.fmean(values), abs=1e-5)
        assert usual.deviation == pytest.approx(statistics.stdev(values), abs=1e-5)
    one = compared_with_all(DEFINITIONS, told(*people[0]), NOW_MS, found)
    assert set(one) == (set() if len(people) < MIN_CUSTOMERS else {"calls", "talk", "length"})
    assert all(abs(value) <= MAX_DEVIATION for value in one.values())


def test_several_deviations_above_the_usual() -> None:
    usual = {field_name(CALLS, "u"): Usual(1000, 1.5, 0.5, NOW_MS)}
    assert compared_with_all(DEFINITIONS, told(1, 1, 1), NOW_MS, usual) == {"calls": 3.0}
    assert compared_with_all(DEFINITIONS, told(1, 1, 1, days=9), NOW_MS, usual) == {}
    assert compared_with_all(DEFINITIONS, {}, NOW_MS, usual) == {}
    assert compared_with_all(DEFINITIONS, told(1, 1, 1), NOW_MS, {}) == {}
    assert read_aggregates(DEFINITIONS, told(1, 1, 1), NOW_MS) == {}


@pytest.mark.parametrize(("value", "deviation"), [(2.0, 0.0), (3.0, MAX_DEVIATION), (1.0, -MAX_DEVIATION)])
def test_where_all_are_alike_any_other_is_as_far_off_as_can_be(value: float, deviation: float) -> None:
    assert Usual(MIN_CUSTOMERS, 2.0, 0.0, NOW_MS).standardised(value) == deviation
    assert Usual(MIN_CUSTOMERS - 1, 2.0, 0.0, NOW_MS).standardised(value) is None


def test_only_what_is_looked_at_is_read() -> None:
    assert [one[0] for one in selected(DEFINITIONS, {"talk"}, set()).against_all] == ["talk"]
    assert selected(DEFINITIONS, {"x"}, set()) is NO_DEFINITIONS
    other = Aggregate("calls", "call", "deviation", window="7d")
    assert field_name(other, "n") != field_name(CALLS, "n")

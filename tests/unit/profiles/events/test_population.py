"""What is usual among all customers: the distribution, and how far one customer is off it."""

import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.events.declared import Aggregate
from profiles.events.definitions import NO_DEFINITIONS, field_name, prepare, selected
from profiles.events.fold import State, fold
from profiles.events.population import MIN_CUSTOMERS, Survey, Usual, compared_with_all, without_outliers
from profiles.events.reading import MAX_DEVIATION, read_aggregates
from tests.support.events import DAY_MS, NOW_MS, call, make_event

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


ABOUT = Aggregate("about", "call", "deviation", window="7d", against="all", key="reason", closed_by="closed")
ABOUT_CASES = prepare([ABOUT, replace(ABOUT, aggregate_id="most", function="count", against="self")])


def told_of_cases(*contacts: int, closed: int = 0) -> State:
    """The state of a customer with so many calls about each case, the first of which are closed."""
    cases = [f"case {n}" for n in range(len(contacts))]
    events = [
        make_event(f"{case}.{n}", "call", NOW_MS - DAY_MS + n, {"reason": case})
        for case, times in zip(cases, contacts, strict=True)
        for n in range(times)
    ]
    events += [make_event(f"{case}.c", "closed", NOW_MS, {"reason": case}) for case in cases[:closed]]
    return fold(ABOUT_CASES, events)


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=60), st.data())
def test_what_is_usual_about_one_case_is_that_of_all_cases(
    people: list[list[int]], data: st.DataObject
) -> None:
    survey = Survey(ABOUT_CASES, NOW_MS)
    for contacts in people:
        survey.add(told_of_cases(*contacts, closed=data.draw(st.integers(0, len(contacts)))))
    (usual,) = survey.result().values()
    plain = sorted(one for contacts in people for one in contacts)
    at_99 = plain[-(-99 * len(plain) // 100) - 1]
    cut = [min(one, at_99) for one in plain]
    if len(set(cut)) == 1:
        cut = plain
    assert usual.customers == len(plain)
    assert usual.mean == pytest.approx(statistics.fmean(cut))
    assert usual.deviation == pytest.approx(statistics.stdev(cut) if len(cut) > 1 else 0.0)


def test_the_open_case_with_the_most_contacts_is_compared() -> None:
    usual = {field_name(ABOUT, "u"): Usual(1000, 2.0, 1.0, NOW_MS)}
    assert ABOUT_CASES.surveyed == set(usual)
    for state, off, most in (
        (told_of_cases(2, 6, 1), 4.0, 6),
        (told_of_cases(6, 3, closed=1), 1.0, 3),
        (told_of_cases(6, closed=1), None, 0),
        (told_of_cases(*[1] * 6), -1.0, 1),
    ):
        found = compared_with_all(ABOUT_CASES, state, NOW_MS, usual)
        assert found == ({} if off is None else {"about": off})
        assert compared_with_all(ABOUT_CASES, state, NOW_MS, {}) == {}
        assert read_aggregates(ABOUT_CASES, state, NOW_MS) == {"most": most}
    assert compared_with_all(ABOUT_CASES, told_of_cases(6), NOW_MS + 8 * DAY_MS, usual) == {}
    assert [one[0] for one in selected(ABOUT_CASES, {"about"}, set()).contacts] == ["about"]


def test_a_few_cases_that_went_astray_do_not_hide_others() -> None:
    assert without_outliers({1: 150, 2: 49, 60: 1}) == {1: 150, 2: 50}
    assert without_outliers({1: 50, 64: 1}) == {1: 50, 64: 1}
    survey = Survey(ABOUT_CASES, NOW_MS)
    for contacts in [1] * 140 + [2] * 60 + [60]:
        survey.add(told_of_cases(contacts))
    found = compared_with_all(ABOUT_CASES, told_of_cases(4), NOW_MS, survey.result())
    assert found["about"] > 3.0


def test_where_all_cases_but_a_few_are_alike_these_count_as_they_are() -> None:
    survey = Survey(ABOUT_CASES, NOW_MS)
    for contacts in [1] * 150 + [9]:
        survey.add(told_of_cases(contacts))
    (usual,) = survey.result().values()
    assert usual.deviation == pytest.approx(statistics.stdev([1] * 150 + [9]))

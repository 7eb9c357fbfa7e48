"""What rules and policies know of a customer's own history, and what is said of names that there are not."""

from typing import Any

import pytest

from decisioning.catalog.catalogue import Catalogue
from decisioning.contact.own_history import (
    OwnHistory,
    feature_warnings,
    unknown_subject,
)
from decisioning.decide.answer import customer_snapshot
from decisioning.decide.eligibility import allowed, stops_of
from decisioning.errors import InvalidRule
from decisioning.model.decision import Contact
from decisioning.model.entities import Placement, Rule
from decisioning.model.outcome import DeclaredOutcome
from rules.history import parse_call
from storage.clock import DAY_MS
from tests.support.shop import NOW_MS, catalogue_with, inputs_of, offer

NUMBERS = {"o1": 1, "o2": 2}


def at(days: float, kind: str = "d", number: int = 1, group: str = "cards", goal: str = "grow") -> Contact:
    """A contact some days ago."""
    return Contact(number, NOW_MS - round(days * DAY_MS), group, goal, kind, "web")


def told(days: float, outcome: str, kind: str = "o") -> Contact:
    """A declared outcome that was told of the first offer some days ago."""
    return Contact(1, NOW_MS - round(days * DAY_MS), "cards", "grow", kind, outcome)


def answer(text: str, *contacts: Contact) -> Any:
    """The answer to one call."""
    call = parse_call(text)
    assert call is not None
    in_order = sorted(contacts, key=lambda contact: contact.at_ms)
    return OwnHistory([call], NUMBERS).answers(in_order, NOW_MS).get(call.variable)


def ruled(when: str, **fields: Any) -> Catalogue:
    """A catalogue of two offers; the first has a rule."""
    rule = Rule("own", "eligibility", when)
    return catalogue_with([offer(1, rules=(rule,)), offer(2)], **fields)


@pytest.mark.parametrize(
    ("text", "contacts", "expected"),
    [
        ("history.shown('o1', '5d')", [at(4)], True),
        ("history.shown('o1', '5d')", [at(5)], False),  # the window is open at its beginning
        ("history.shown('o1', '5d')", [at(-0.1)], True),  # of a clock that is ahead
        ("history.shown('o2')", [at(4)], False),
        ("history.shown('group:cards')", [at(4)], True),
        ("history.shown('goal:retain')", [at(4)], False),
        ("history.shown('*')", [at(4)], True),
        ("history.shown('o1')", [at(4, "a")], False),
        ("history.shown('o1')", [at(4, "P")], True),  # transactional: it was told
        ("history.presented('o1')", [at(4)], False),
        ("history.answered('o1')", [at(4, "a")], True),
        ("history.answered('o1')", [at(4, "R")], True),
        ("history.answered('o1')", [at(4, "c")], False),
        ("history.rejected('o1')", [at(4, "a")], False),
        ("history.count_rejected('*', '30d')", [at(40, "r"), at(9, "r"), at(8, "r", 2), at(7, "a")], 2),
        ("history.days_since_shown('o1')", [at(9), at(2.5)], 2.5),
        ("history.days_since_shown('o1')", [], None),
        ("history.days_since_shown('o1')", [at(-1)], 0.0),
        ("history.last_outcome('group:cards')", [at(9, "r"), at(3, "c", 2), at(1)], "clicked"),
        ("history.last_outcome('o1')", [at(3, "c"), at(3, "a")], "accepted"),
        ("history.last_outcome('o1')", [at(3)], "none"),
        ("history.shown('o9')", [at(3)], False),
        ("history.had('quoted', 'o1', '7d')", [told(4, "quoted")], True),
        ("history.had('quoted', 'o1', '7d')", [told(7, "quoted")], False),
        ("history.had('quoted', 'o1')", [told(4, "complaint"), at(3, "s")], False),
        ("history.had('quoted', 'o1')", [told(4, "quoted", "O")], True),  # transactional
        ("history.had('quoted', 'o2')", [told(4, "quoted")], False),
        ("history.had('accepted', 'o1')", [at(4, "a")], True),
        ("history.had('accepted', 'o1')", [told(4, "quoted")], False),
        ("history.had('web', 'o1')", [at(4), at(3, "c")], False),  # a channel is no outcome
        ("history.answered('o1')", [told(4, "quoted")], False),
        ("history.shown('o1')", [told(4, "quoted")], False),
        ("history.count_had('quoted', 'group:cards', '30d')", [told(9, "quoted"), told(40, "quoted")], 1),
        ("history.days_since_had('quoted', '*')", [told(9, "quoted"), told(2.5, "quoted")], 2.5),
        ("history.days_since_had('quoted', '*')", [told(9, "complaint")], None),
        ("history.last_outcome('o1')", [at(3, "c"), told(2, "quoted")], "quoted"),
        ("history.last_outcome('o1')", [at(3, "c"), told(3, "quoted")], "quoted"),
        ("history.last_outcome('o1')", [at(3, "r"), told(3, "quoted")], "rejected"),
        ("history.last_outcome('o1')", [told(3, "quoted"), told(3, "complaint")], "quoted"),
        ("history.last_outcome('o1')", [at(3, "s")], "none"),
    ],
)
def test_a_call_is_answered_from_the_contacts_in_its_window(
    text: str, contacts: list[Contact], expected: Any
) -> None:
    assert answer(text, *contacts) == expected


def test_nothing_is_known_where_the_history_cannot_be_read() -> None:
    call = parse_call("history.shown('o1')")
    assert call is not None
    assert OwnHistory([call], NUMBERS).answers(None, NOW_MS) == {}


def test_a_rule_over_the_history_fails_closed_while_it_cannot_be_read() -> None:
    catalogue = ruled("!history.shown('o1', '5d')", placement={"without_history": "allow"})
    assert allowed(inputs_of(catalogue)).tolist() == [True, True]
    assert allowed(inputs_of(catalogue, history=[at(1)])).tolist() == [False, True]
    assert allowed(inputs_of(catalogue, history=None)).tolist() == [False, True]


def test_an_explanation_shows_what_was_asked_and_answered() -> None:
    catalogue = ruled("!history.shown('o1', '5d') && history.count_rejected('*') < 3")
    (stop,) = stops_of(inputs_of(catalogue, history=[at(1)]), 0)
    assert stop.observed == {"history.shown('o1', '5d')": True, "history.count_rejected('*')": 0}
    assert stop.required == "!history.shown('o1', '5d') && history.count_rejected('*') < 3"


def test_a_record_holds_what_the_answers_came_from_and_nothing_else() -> None:
    catalogue = ruled("history.shown('o2', '5d')")
    history = [at(9, "d", 2), at(4, "d", 2), at(3, "c", 2), at(2, "d", 1)]
    inputs = inputs_of(catalogue, history=history)
    assert customer_snapshot(inputs).history == (history[1],)
    without_rules = inputs_of(catalogue_with([offer(1), offer(2)]), history=history)
    assert customer_snapshot(without_rules).history == ()


def test_the_longest_window_of_a_rule_is_how_long_contacts_are_kept() -> None:
    assert catalogue_with([offer(1)]).history_ms == 7 * DAY_MS
    assert ruled("history.shown('o1', '30d')").history_ms == 30 * DAY_MS
    assert ruled("history.shown('o1')").history_ms == 366 * DAY_MS
    logged = {"log_facts": ("history.count_shown('*', '60d')",)}
    assert catalogue_with([offer(1)], logged).history_ms == 60 * DAY_MS


def test_only_placements_that_ask_read_the_history_for_it() -> None:
    placements = {"home": Placement("home", "web"), "letter": Placement("letter", "letter")}
    plain = catalogue_with([offer(1)], placements=placements)
    assert (plain.view("home").own_history, plain.view("letter").contact.needed) == (None, False)
    asking = Placement("letter", "letter", when="history.shown('*', '1d')")
    asked = catalogue_with([offer(1)], placements=placements | {"letter": asking})
    assert asked.view("letter").own_history is not None


@pytest.mark.parametrize(
    ("text", "message", "meant"),
    [
        ("history.shown('glod')", "there is no offer 'glod'", "did you mean 'gold'?"),
        ("history.shown('cards')", "there is no offer 'cards'", "did you mean 'group:cards'?"),
        ("history.shown('retain')", "there is no offer 'retain'", "did you mean 'goal:retain'?"),
        ("history.shown('group:crads')", "there is no group 'crads'", "did you mean 'group:cards'?"),
        ("history.shown('goal:sell')", "there is no goal 'sell'", None),
        ("history.had('quotd', 'gold')", "there is no outcome 'quotd'", "did you mean 'quoted'?"),
        ("history.had('acepted', 'gold')", "there is no outcome 'acepted'", "did you mean 'accepted'?"),
        ("history.had('shown', 'gold')", "there is no outcome 'shown'", "did you mean history.shown?"),
        (
            "history.count_had('zzz', '*')",
            "there is no outcome 'zzz'",
            "declare it with PUT /v1/outcomes/zzz",
        ),
        ("history.had('quoted', 'glod')", "there is no offer 'glod'", "did you mean 'gold'?"),
    ],
)
def test_a_name_that_there_is_not_is_told_with_what_may_have_been_meant(
    text: str, message: str, meant: str | None
) -> None:
    call = parse_call(text)
    assert call is not None
    assert unknown_subject(call, ["gold", "silver"], ["cards"], ["quoted"]) == (message, meant)


def test_a_catalogue_is_refused_whose_rule_asks_about_an_offer_that_there_is_not() -> None:
    with pytest.raises(InvalidRule) as raised:
        ruled("customer.age > 1 && history.shown('group:crads')")
    assert raised.value.field == "offers.o1.rules.own"
    assert (raised.value.line, raised.value.column) == (1, 21)
    assert raised.value.suggestion == "did you mean 'group:cards'?"


def test_a_rule_about_a_declared_outcome_is_answered_explained_and_recorded_with_that_alone() -> None:
    declared = {"quoted": DeclaredOutcome("quoted"), "complaint": DeclaredOutcome("complaint")}
    catalogue = ruled("!history.had('quoted', 'o1', '7d')", outcomes=declared)
    history = [told(3, "complaint"), told(2, "quoted")]
    inputs = inputs_of(catalogue, history=history)
    assert allowed(inputs).tolist() == [False, True]
    (stop,) = stops_of(inputs, 0)
    assert stop.observed == {"history.had('quoted', 'o1', '7d')": True}
    again = customer_snapshot(inputs).history
    assert again == tuple(history[1:])
    assert allowed(inputs_of(catalogue, history=again)).tolist() == [False, True]


def test_what_last_outcome_is_compared_with_is_an_outcome() -> None:
    declared = {"quoted": DeclaredOutcome("quoted")}
    catalogue = ruled("history.last_outcome('o1') == 'quoted'", outcomes=declared)
    assert allowed(inputs_of(catalogue, history=[told(1, "quoted")])).tolist() == [True, True]
    with pytest.raises(InvalidRule) as raised:
        ruled("history.last_outcome('o1') == 'qouted'", outcomes=declared)
    assert raised.value.suggestion == "did you mean 'quoted'?"
    with pytest.raises(InvalidRule):
        ruled("history.last_outcome('o1') == 'quoted'")


def test_features_are_warned_of_that_look_further_back_than_contacts_are_kept() -> None:
    paths = ["customer.age", "history.count_shown('*', '30d')", "history.shown('o9', '1d')"]
    short, unknown = feature_warnings(paths, ["o1"], ["cards"], [], 7 * DAY_MS)
    assert "kept for 7 days" in short
    assert "there is no offer 'o9'" in unknown
    assert feature_warnings(paths[:2], ["o1"], ["cards"], [], 30 * DAY_MS) == []
    (told_of,) = feature_warnings(["history.had('quotd', '*', '1d')"], [], [], ["quoted"], 7 * DAY_MS)
    assert "there is no outcome 'quotd'; did you mean 'quoted'?" in told_of
    assert feature_warnings(["history.had('quoted', '*', '1d')"], [], [], ["quoted"], 7 * DAY_MS) == []

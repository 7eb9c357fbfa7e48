"""Questions to the customer's own history in rules: how they are written, and what is said of mistakes."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from rules.errors import RuleError
from rules.evaluation import RuleSet, evaluate
from rules.expression import Checker
from rules.history import MAX_WITHIN_S, calls_among, find_calls, parse_call
from rules.vocabulary import Attribute, Vocabulary

VOCABULARY = Vocabulary.of([Attribute("customer.age", "int"), Attribute("customer.history", "string")])
CHECKER = Checker(VOCABULARY, ("pestered",))
NOW = datetime(2026, 5, 1, tzinfo=UTC)


def evaluated(source: str, **answers: Any) -> tuple[bool, dict[str, int]]:
    """Whether a condition is met, and what is missing; answers are given by the call's function."""
    segments = {"pestered": CHECKER.check("history.count_shown('*', '7d') > 5")}
    expression = CHECKER.check(source)
    plan = RuleSet(VOCABULARY, segments).plan([expression])
    found = {
        call.variable: answers[name]
        for call in plan.history
        if (name := call.text.partition("(")[0].removeprefix("history.")) in answers
    }
    evaluation = evaluate(plan, {"customer": {"age": 30}, "context": {}, "history": found}, NOW)
    return evaluation.holds(expression), dict(evaluation.missing)


def test_a_call_says_what_is_looked_for_where_and_how_far_back() -> None:
    call = parse_call("history.count_rejected('group:cards', '2w')")
    assert call is not None
    assert (call.measure, call.verb, call.scope, call.name) == ("count", "rejected", "group", "cards")
    assert call.within_s == 14 * 86_400
    assert (call.path, call.attribute().type) == (f"history.{call.variable}", "int")
    everything = parse_call("history.shown('*')")
    assert everything is not None
    assert (everything.scope, everything.name, everything.within_s) == ("all", "", MAX_WITHIN_S)


def test_a_call_may_name_an_outcome_first() -> None:
    call = parse_call("history.count_had('quoted', 'group:cards', '2w')")
    assert call is not None
    assert (call.measure, call.verb, call.outcome) == ("count", "had", "quoted")
    assert (call.scope, call.name, call.within_s) == ("group", "cards", 14 * 86_400)
    whole = parse_call("history.had('quoted', 'gold')")
    assert whole is not None
    assert (whole.measure, whole.name, whole.within_s) == ("ever", "gold", MAX_WITHIN_S)
    other = parse_call("history.had('complaint', 'gold')")
    assert other is not None
    assert other.path != whole.path
    assert parse_call("history.shown('gold')") != whole


def test_last_outcome_is_compared_with_outcomes_that_are_declared() -> None:
    checker = Checker(VOCABULARY, (), ("quoted",))
    assert checker.check("history.last_outcome('x') == 'quoted' || customer.age > 3").calls
    with pytest.raises(RuleError, match="is not a value of"):
        CHECKER.check("history.last_outcome('x') == 'quoted'")
    event = Attribute("event.reason", "string")
    assert checker.knowing((event,)).check("history.last_outcome('x') == 'quoted'").calls


def test_a_call_is_written_in_one_way_however_it_was_sent() -> None:
    calls = [parse_call(t) for t in ("history.shown('x','5d')", 'history.shown( "x" , "5d" )')]
    assert {call.text for call in calls if call} == {"history.shown('x', '5d')"}
    assert calls_among(["customer.age", "history.shown('x','5d')", "history.nothing"]) == (calls[0],)


def test_two_calls_never_share_a_variable() -> None:
    texts = [f"history.{verb}('{name}')" for verb in ("shown", "clicked") for name in ("a", "b", "group:a")]
    assert len({call.path for text in texts if (call := parse_call(text))}) == len(texts)


@pytest.mark.parametrize(
    ("source", "answers", "expected"),
    [
        ("history.shown('x', '5d') && !history.answered('x')", {"shown": True, "answered": False}, True),
        ("history.shown('x', '5d') && !history.answered('x')", {"shown": True, "answered": True}, False),
        ("history.count_rejected('*') >= 2 && customer.age > 20", {"count_rejected": 2}, True),
        ("history.days_since_shown('x') > 3.0", {"days_since_shown": 3.5}, True),
        ("history.last_outcome('group:cards') == 'rejected'", {"last_outcome": "rejected"}, True),
        ("history.last_outcome('x').startsWith('rej')", {"last_outcome": "rejected"}, True),
        ("!has(history.days_since_shown('x')) || history.days_since_shown('x') > 3.0", {}, True),
        ("[1, 2].exists(n, history.count_shown('x') == n)", {"count_shown": 2}, True),
        ("segment.pestered", {"count_shown": 6}, True),
        ("customer.history == 'long'", {}, False),
    ],
)
def test_a_rule_holds_by_what_the_history_answers(source: str, answers: Any, expected: bool) -> None:
    assert evaluated(source, **answers)[0] is expected


def test_a_rule_over_a_history_that_cannot_be_read_is_not_met_and_says_what_is_missing() -> None:
    assert evaluated("!history.shown('x', '5d')") == (False, {"history.shown('x', '5d')": 1})
    assert evaluated("customer.age > 20 || history.shown('x')")[0] is True


@pytest.mark.parametrize(
    ("source", "where", "message", "suggestion"),
    [
        ("true && history.shwn('x')", (1, 9), "there is no history.shwn", "did you mean history.shown?"),
        ("history.shown(x)", (1, 15), "texts in quotes", "write 'x'"),
        ("history.shown('x', 5d)", (1, 20), "stands in quotes", "write '5d'"),
        ("history.shown", (1, 1), "is a function", "write history.shown('...', '30d')"),
        ("history.shown()", (1, 1), "takes an offer's id", None),
        ("history.shown('x', '5d', '6d')", (1, 1), "takes an offer's id", None),
        ("history.shown('x' '5d')", (1, 1), "takes an offer's id", None),
        ("history.shown('x', '367d')", (1, 20), "366 days at most", "write '366d', or leave it out"),
        ("history.shown('x', '0d')", (1, 20), "is no window", None),
        ("history.shown('x', 'soon')", (1, 20), "is no window", None),
        ("history.shown('team:x')", (1, 15), "names nothing", None),
        ("history.hadd('quoted', 'x')", (1, 1), "there is no history.hadd", "did you mean history.had?"),
        ("history.had", (1, 1), "it takes an outcome, then", "write history.had('...', '...', '30d')"),
        ("history.had('quoted')", (1, 1), "takes an outcome, then an offer's id", None),
        ("history.had('quoted', 'x', '5d', '6d')", (1, 1), "takes an outcome, then", None),
        ("history.had(quoted, 'x')", (1, 13), "texts in quotes", "write 'quoted'"),
        ("history.had('quoted', 'x', 5d)", (1, 28), "stands in quotes", "write '5d'"),
        ("history.had('group:x', '*')", (1, 13), "is no outcome", None),
        ("history.count_had('quoted', '*')", (1, 1), "must be true or false", None),
        (
            "history.last_outcome('x') == 'acepted'",
            (1, 30),
            "is not a value of history.last_outcome('x')",
            "did you mean 'accepted'?",
        ),
        (
            "history.days_since_shown('x', '9d') > 3",
            (1, 37),
            "does not go with",
            "write history.days_since_shown('x', '9d') > 3.0",
        ),
        (
            "history.shown('x') AND customer.agee > 3",
            (1, 20),
            "AND is written &&",
            "write history.shown('x') && customer.age > 3",
        ),
        ("history.count_shown('x')", (1, 1), "must be true or false", None),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_to_write(
    source: str, where: tuple[int, int], message: str, suggestion: str | None
) -> None:
    with pytest.raises(RuleError) as raised:
        CHECKER.check_new(source)
    assert (raised.value.line, raised.value.column) == where
    assert message in raised.value.message
    assert re.search(r"history\.h[0-9a-f]{9}", raised.value.message) is None
    assert raised.value.suggestion == suggestion


def test_texts_that_only_speak_of_history_are_no_calls() -> None:
    assert find_calls("customer.history == 'history.shown'") == []
    assert parse_call("history.shown('x') && true") is None

"""The cost of an expression bounds the time that it takes, so that no rule stops a process."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from rules.cost import MAX_COST, MAX_ITEM_CHARS, MAX_ITEMS, actual_size, cost, declared_size
from rules.errors import RuleError
from rules.evaluation import RuleSet, evaluate
from rules.expression import Checker
from rules.vocabulary import Attribute, Vocabulary

ATTRIBUTES = (
    Attribute("context.pages", "list"),
    Attribute("context.text", "string"),
    Attribute("context.words", "list", values=("a", "bb")),
    Attribute("customer.tags", "list"),
)
CHECKER = Checker(Vocabulary.of(ATTRIBUTES))
NOW = datetime(2026, 5, 1, tzinfo=UTC)
NESTED = "context.pages.all(a, context.pages.all(b, a != 'q' && b != 'z'))"
LITERALS = "[" + ",".join(["1"] * 50) + "]"
NEST_OF_ALL = "".join(f"{LITERALS}.all({v}, " for v in "abcdefgh") + "a + h > 0" + ")" * 8
TOO_COSTLY = (
    NESTED,
    NEST_OF_ALL,
    f"{LITERALS}.all(a, {LITERALS}.all(b, {LITERALS}.all(c, a + b + c > 0)))",
    "context.pages.map(a, context.pages.map(b, b)).size() > 1",
    "context.pages.map(a, a).map(b, b + 'x').size() > 1",
    "context.text.matches(context.text)",
    "context.text.matches('(\\\\w{100}){9}')",
)
FINE = (
    "context.pages.exists(p, p.startsWith('deals/'))",
    "context.pages.all(a, a in customer.tags)",
    "context.pages.filter(p, p.contains('card')).size() > 2",
    "['gold', 'silver'].exists(x, context.pages.exists(p, p.contains(x)))",
    "context.text.matches('^[a-z]{2,8}[0-9]*$')",
    "context.text.size() > 3 && 'a' in context.words",
)


@pytest.mark.parametrize("source", TOO_COSTLY, ids=lambda source: source[:40])
def test_what_could_stop_a_process_is_refused_when_it_is_saved(source: str) -> None:
    assert len(source) <= 1119
    started = time.perf_counter()
    with pytest.raises(RuleError, match=r"may take .* steps; at most 100,000|at most 3 of all"):
        CHECKER.check_new(source)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("source", FINE)
def test_what_marketing_writes_is_taken(source: str) -> None:
    assert CHECKER.check_new(source).source == source


@pytest.mark.parametrize("source", [*TOO_COSTLY, *FINE], ids=lambda source: source[:40])
def test_a_rule_of_an_earlier_version_is_evaluated_within_the_bound(source: str) -> None:
    """Lists as long, and texts as large, as any request or customer can have."""
    expression = CHECKER.check(source)  # as it is read from the catalogue
    pages, tags = ["p" * 100 + str(n) for n in range(1000)], ["t" * 100 + str(n) for n in range(1000)]
    facts: dict[str, Any] = {
        "context": {"pages": pages, "text": "x" * 4096, "words": ["a"]},
        "customer": {"tags": tags},
    }
    plan = RuleSet(CHECKER.vocabulary, {}).plan([expression])
    best = 9.0
    for _ in range(3):  # the shortest one: others may have been interrupted
        started = time.perf_counter()
        evaluate(plan, facts, NOW).holds(expression)
        best = min(best, time.perf_counter() - started)
    assert best < 0.1


def test_a_costly_rule_of_an_earlier_version_still_holds_where_lists_are_short() -> None:
    expression = CHECKER.check(NESTED)
    plan = RuleSet(CHECKER.vocabulary, {}).plan([expression])

    def found(pages: Any) -> tuple[bool, dict[str, int]]:
        evaluation = evaluate(plan, {"customer": {}, "context": {"pages": pages}}, NOW)
        return evaluation.holds(expression), dict(evaluation.missing)

    assert found(["a", "b"]) == (True, {})
    assert found(["a", "q"]) == (False, {})
    assert found(["a"] * 500) == (False, {NESTED: 1})


def test_sizes() -> None:
    pages = Vocabulary.of(ATTRIBUTES).attributes["context.words"]
    assert declared_size(pages).count == MAX_ITEMS
    assert declared_size(pages).item == actual_size("bb")
    assert declared_size(ATTRIBUTES[0]).item == actual_size("x" * MAX_ITEM_CHARS)
    assert declared_size(None) == actual_size(3) == actual_size(None)
    assert actual_size(["a", "bbb"]).chars == 2 * 4


def test_more_of_the_same_costs_more() -> None:
    tree = CHECKER.check("context.pages.map(p, p).size() > 1").tree
    costs = [cost(tree, lambda path, n=n: actual_size(["x"] * n)) for n in (0, 10, 100, 1000)]  # type: ignore[misc]
    assert costs == sorted(set(costs))
    assert costs[0] < 20
    assert costs[-1] > MAX_COST

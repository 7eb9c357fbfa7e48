"""Both evaluators have the same opinion of simple expressions, and all others mean what CEL's own implementation says.

Every function of the checker's standard library is tried on samples beyond ASCII, so a function that is taken for
simple, and is not, is found here.
"""

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import cel
import pytest

from rules.evaluation import RuleSet, evaluate
from rules.evaluators import SIMPLE_OVERLOADS, run_simple
from rules.expression import Checker
from rules.vocabulary import Attribute, AttributeType, Vocabulary

TYPES: dict[str, AttributeType] = {
    "s": "string",
    "n": "number",
    "i": "int",
    "b": "bool",
    "l": "list",
    "t": "timestamp",
}
SAMPLES: dict[str, list[Any]] = {
    "s": [
        "",
        "x",
        "Málaga",
        "e\u0301",
        "日本語",
        "😀a",
        "ß",
        "İ",
        "12",
        "-3",
        "true",
        "2026-01-01T00:00:00+02:00",
    ],
    "n": [0.0, -0.0, 1.0, 1.5, -2.5, 1e300, 1e19, 9007199254740993.0, 0.1, 1e-7, 1e21],
    "i": [0, 1, -1, 7, 2**53 + 1, 2**63 - 1, 1 - 2**63, 86400],
    "b": [True, False],
    "l": [[], ["x"], ["Málaga", "x"], ["😀", "😀"]],
    "t": [
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 500000, tzinfo=UTC),
        datetime(2026, 7, 5, 12, tzinfo=timezone(timedelta(hours=2))),
    ],
}
ACCESSORS = (
    *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
    *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
)
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
CONDITIONS = (
    *(f"{{{kind}}} {sign} {{{kind}2}}" for kind in "snibt" for sign in COMPARISONS),
    *(f"{{i}} {sign} {{i2}} == {{i}}" for sign in "+-*/%"),
    *(f"{{n}} {sign} {{n2}} == {{n}}" for sign in "+-*/"),
    *(f"{{t}}.{name}() == {{i}}" for name in ACCESSORS),
    *(f"{{t}}.{name}('Europe/Madrid') == {{i}}" for name in ACCESSORS),
    *(f"{{s}}.{name}({{s2}})" for name in ("contains", "startsWith", "endsWith", "matches")),
    *(
        "{s} in {l}",
        "{s} in ['x', 'Málaga']",
        "{i} in [0, 7]",
        "{l} == {l2}",
        "{l} + {l2} == {l}",
        "{s} + {s2} == {s}",
    ),
    *(
        "{b} && {b2}",
        "{b} || {b2}",
        "!{b}",
        "{b} ? {b2} : true",
        "has({s}) && {b}",
        "-{i} < {i2}",
        "-{n} < {n2}",
    ),
    *(
        "size({s}) == {i}",
        "{s}.size() == {i}",
        "size({l}) == {i}",
        "size(bytes({s})) > {i}",
        "{s}.size() == 6",
    ),
    *(
        "string({i}) == {s}",
        "string({n}) == {s}",
        "string({b}) == {s}",
        "string({t}) == {s}",
        "int({s}) == {i}",
    ),
    *("int({n}) == {i}", "int({t}) > {i}", "double({i}) == {n}", "double({s}) == {n}", "bool({s}) == {b}"),
    *("uint({i}) > 1u", "timestamp({s}) == {t}", "timestamp({i}) < {t}", "duration({s}) > duration('1s')"),
    *("timestamp('2026-07-05T12:00:00+02:00').getHours() == 10", "duration('1.5s').getMilliseconds() == 500"),
    *("{t} - {t2} > duration('1h')", "{t} + duration('36h') > {t2}", "{t} - duration('36h') < {t2}"),
    *("string({t} - {t2}) == {s}", "({t} - {t2}).getHours() > {i}", "{n} / 0.0 > {n2}", "{n} / {n2} < 1.0"),
    *("{l}[0] == {s}", "{l}.exists(p, p == {s})", "{l}.all(p, p.size() == 1)", "{l}.exists_one(p, p == {s})"),
    *("{l}.map(p, p + 'x') == {l2}", "{l}.filter(p, p != {s}).size() == 1", "{l}.map(p, p.size()) == [6, 1]"),
    *(
        "{s}.matches('^\\\\w+$')",
        "{s}.matches('^.$')",
        "matches({s}, 'a')",
        "dyn({i}) == dyn({n})",
    ),
    *(
        "{'Málaga': {i}}[{s}] > 0",
        "{s} in {'Málaga': 1}",
        "'\\u00e1'.size() == 1",
        "b'\\303\\241' == bytes('á')",
    ),
)
PLACES = {f"context.{kind}{number}": (kind, TYPES[kind]) for kind in TYPES for number in ("", "2")}
CHECKER = Checker(Vocabulary.of([Attribute(path, type_) for path, (_, type_) in PLACES.items()]))


def cases(source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The condition on attributes, with every combination of their samples."""
    names = sorted(set(re.findall(r"\{([snibtl]2?)\}", source)))
    written = re.sub(r"\{([snibtl]2?)\}", r"context.\1", source)
    for values in itertools.product(*(SAMPLES[name[0]] for name in names)):
        yield written, dict(zip(names, values, strict=True))


def reference(source: str, values: dict[str, Any]) -> Any:
    """The opinion of CEL's own implementation; ``None`` for an error."""
    try:
        return CHECKER.check(source).reference.run({f"context.{name}": v for name, v in values.items()})
    except Exception:
        return None


def travelling(value: Any) -> Any:
    """The value as it comes in a request."""
    return value.isoformat() if isinstance(value, datetime) else value


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_rule_means_what_the_checker_says(condition: str) -> None:
    for source, values in cases(condition):
        expression = CHECKER.check(source)
        plan = RuleSet(CHECKER.vocabulary, {}).plan([expression])
        facts = {"customer": {}, "context": {name: travelling(value) for name, value in values.items()}}
        found = evaluate(plan, facts, SAMPLES["t"][0])
        assert found.holds(expression) is (reference(source, values) is True), (source, values)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_fast_evaluator_agrees_on_simple_expressions(condition: str) -> None:
    for source, values in cases(condition):
        expression = CHECKER.check(source)
        if not expression.simple:
            return
        utc = {n: v.astimezone(UTC) if isinstance(v, datetime) else v for n, v in values.items()}
        try:
            found = run_simple(cel.compile(source), {"context": utc})
        except Exception:
            found = None
        assert found == reference(source, values), (source, values)


def test_every_simple_function_is_among_those_that_are_tried() -> None:
    tried = set()
    for condition in CONDITIONS:
        source, _ = next(cases(condition))
        tried |= {overload for node in CHECKER.check(source).tree.walk() for overload in node.overloads}
    others = {"greater_equals_duration", "greater_duration", "less_duration", "less_equals_duration"}
    assert SIMPLE_OVERLOADS - tried <= others | {"add_duration_timestamp"}

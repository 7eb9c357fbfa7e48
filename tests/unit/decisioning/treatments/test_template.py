"""Texts with variables: what they say, what is refused, and that they cannot reach Python."""

import string
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from decisioning.treatments.filters import MAX_VALUE_CHARS, format_value, plain_value
from decisioning.treatments.template import MAX_CHARS, MAX_VARIABLES, parse_text
from rules.errors import RuleError

DATA: dict[str, Any] = {
    "customer.first_name": "ann o'neil",
    "customer.tenure": 3.0,
    "customer.spend": 1234.5678,
    "customer.known": True,
    "customer.holdings": ("card", "loan"),
    "customer.interests.coffee": 0.75,
    "offer.name": "Gold",
}


def said(
    source: str, data: Mapping[str, Any] | None = None, fallbacks: Mapping[str, str] | None = None
) -> str:
    return parse_text(source).render({**DATA, **(data or {})}.get, fallbacks or {})


def refusal(source: str) -> RuleError | None:
    """Return the error with which a text is refused, its position checked to exist; ``None`` if it is not refused."""
    try:
        parse_text(source)
    except RuleError as error:
        refused = error
    else:
        return None
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert 1 <= refused.line <= len(lines)
    assert 1 <= refused.column <= len(lines[refused.line - 1]) + 1
    return refused


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Plain, with } and { and %", "Plain, with } and { and %"),
        ("", ""),
        ("Hi {{ customer.first_name }}!", "Hi ann o'neil!"),
        ("Hi {{customer.first_name|title}}!", "Hi Ann O'neil!"),
        ("{{ customer.first_name | capitalize }}", "Ann o'neil"),
        ("{{ customer.first_name | upper }} {{ offer.name | lower }}", "ANN O'NEIL gold"),
        ("{{ customer.tenure }} years", "3 years"),
        ("{{ customer.spend | round }}, {{ customer.spend | round(2) }}", "1235, 1234.57"),
        ("{{ customer.first_name | round(2) }}", "ann o'neil"),
        ("{{ customer.known }}", "true"),
        ("{{ customer.holdings }}", "card, loan"),
        ("{{ customer.holdings | join(' and ') }}", "card and loan"),
        ("{{ customer.holdings | join }}", "card, loan"),
        ("{{ customer.holdings | upper }}", "CARD, LOAN"),
        ("{{ customer.first_name | join('-') }}", "ann o'neil"),
        ("{{ customer.interests.coffee }}", "0.75"),
        ("{{ customer.missing }}", ""),
        ("{{ customer.missing | default('you') }}", "you"),
        ("{{ customer.missing | upper | default('you', true) }}", "you"),
        ("{{ customer.missing | round(1) | join }}", ""),
        ("{{ customer . first_name }}{{ offer.name }}", "ann o'neilGold"),
        ("two\r\nlines {{ offer.name }}\n", "two\nlines Gold\n"),
        ("ends {{- offer.name -}} here", "endsGoldhere"),
    ],
)
def test_what_a_text_says(source: str, expected: str) -> None:
    assert said(source) == expected


@pytest.mark.parametrize("empty", ["", "  ", None, [], [[]], {}, {"a": 1}, float("nan"), float("inf"), 2**70])
def test_an_empty_value_gives_way_to_the_fallback_as_it_is(empty: Any) -> None:
    data = {"customer.first_name": empty}
    assert said("Hi {{ customer.first_name | title }}", data, {"customer.first_name": "there"}) == "Hi there"
    assert said("Hi {{ customer.first_name | default('x') }}", data, {"customer.first_name": ""}) == "Hi "
    assert said("Hi {{ customer.first_name | default('x') }}", data) == "Hi x"


def test_what_is_said_has_an_end() -> None:
    source = "{{ customer.first_name }}" * MAX_VARIABLES
    text = said(source, {"customer.first_name": "a" * 5000})
    assert text == "a" * MAX_CHARS
    assert len(said("{{ customer.first_name }}", {"customer.first_name": "a" * 5000})) == MAX_VALUE_CHARS


# What somebody may try who wants more than data: each is refused when it is saved.
ATTACKS = [
    "{{ ''.__class__.__mro__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''|attr('__class__') }}",
    "{{ customer|attr('__class__') }}",
    "{{ customer.first_name|attr('__class__') }}",
    "{{ customer['__class__'] }}",
    "{{ customer.first_name[0] }}",
    "{{ customer.first_name.format(customer) }}",
    "{{ '{0.__class__}'.format(customer) }}",
    "{{ '%s' % customer }}",
    "{{ '%c' % 65 }}",
    "{{ customer.first_name|format('x') }}",
    "{{ customer.first_name|map('upper') }}",
    "{{ customer.first_name|list|last }}",
    "{{ customer.first_name|safe }}",
    "{{ customer.first_name|xmlattr }}",
    "{{ customer.first_name|string|e }}",
    "{{ customer.first_name|pprint }}",
    "{{ customer.first_name|tojson }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__ }}",
    "{{ namespace.__init__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ lipsum() }}",
    "{{ self.__init__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ request.application }}",
    "{{ config }}",
    "{{ v0 }}",
    "{{ loop.index }}",
    "{{ range(999999999)|list }}",
    "{{ range(10**9) }}",
    "{{ customer.items() }}",
    "{{ customer.get('x') }}",
    "{{ dict(a=1) }}",
    "{{ 'a' * 10**9 }}",
    "{{ 9**9**9 }}",
    "{{ customer.tenure * 2 }}",
    "{{ customer.tenure ~ customer.spend }}",
    "{{ -customer.tenure }}",
    "{{ not customer.known }}",
    "{{ customer.tenure > 2 }}",
    "{{ customer.tenure is defined }}",
    "{{ 'x' if customer.known else 'y' }}",
    "{{ [customer] }}",
    "{{ {'a': customer} }}",
    "{{ (customer.tenure, customer.spend) }}",
    "{{ 'text' }}",
    "{{ 1 }}",
    "{{ none }}",
    "{{ true }}",
    "{{ customer }}",
    "{{ customer.first_name|default(lipsum) }}",
    "{{ customer.first_name|default(customer.__class__) }}",
    "{{ customer.first_name|default(default_value='x') }}",
    "{{ customer.first_name|default(*customer) }}",
    "{{ customer.first_name|default(**customer) }}",
    "{{ customer.first_name|default('\\ud800') }}",
    "{{ customer.first_name|default('\\x00') }}",
    "{{ customer.first_name|default }}",
    "{{ customer.tenure|round(2.5) }}",
    "{{ customer.tenure|round(true) }}",
    "{{ customer.tenure|round(-1) }}",
    "{{ customer.tenure|round(99999) }}",
    "{{ customer.tenure|round(2, 'floor') }}",
    "{{ customer.holdings|join(', ', attribute='__class__') }}",
    "{{ customer.first_name|upper('x') }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "{% set x = 1 %}",
    "{% if customer.known %}x{% endif %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends 'x' %}",
    "{% raw %}{{ customer.x }}{% endraw %}",
    "{% filter upper %}x{% endfilter %}",
    "{% call f() %}{% endcall %}",
    "{%- print(1) -%}",
    "{# a comment #}",
    "{{ customer.first_name",
    "{{ }}",
    "{{",
    "{{ {{ customer.first_name }} }}",
    "{{ customer.first_name | default('{% x %}') }}",
    "{{ customer.first_name" + "|upper" * 11 + " }}",
    "{{ customer.first_name" + "|upper" * 900 + " }}",
    "{{ customer" + ".a" * 3000 + "() }}",
    "{{ " + "(" * 3000 + "customer.x" + ")" * 3000 + " }}",
    "{{ " + "[" * 3000 + " }}",
    "{{ " + "not " * 1500 + "customer.x }}",
    "{{ " + "-" * 5000 + "1 }}",
    "{{ " + "9" * 6000 + " }}",
    "{{ 1e999999 }}",
    "{{ customer.x }}" * (MAX_VARIABLES + 1),
    "a" * (MAX_CHARS + 1),
]


@pytest.mark.parametrize("source", ATTACKS, ids=range(len(ATTACKS)))
def test_a_text_cannot_reach_python(source: str) -> None:
    assert refusal(source) is not None


UNDERSCORED = [
    "{{ customer.__class__ }}",
    "{{ customer.__class__.__mro__ }}",
    "{{ customer.keys }}",
    "{{ customer.first_name.__class__ }}",
    "{{ offer.__init__.__globals__ }}",
    "{{ context.environment }}",
    "{{ context.eval_ctx }}",
]


@pytest.mark.parametrize("source", UNDERSCORED)
def test_attributes_of_python_are_names_without_a_value(source: str) -> None:
    """They are refused as unknown when a treatment is saved; and even if one ran, it would only look into data."""
    seen: list[str] = []
    assert parse_text(source).render(seen.append) == ""
    assert seen == [source.strip("{} ")]


def test_values_are_never_read_as_templates() -> None:
    for value in ("{{ customer.spend }}", "{% for %}", "{0.__class__}", "%s", "${x}", "{{ ''.__class__ }}"):
        assert said("{{ customer.first_name | join }}|", {"customer.first_name": value}) == value + "|"
        assert said("{{ customer.x }}|", {"customer.x": value}) == value + "|"


@pytest.mark.parametrize(
    ("source", "line", "column", "words"),
    [
        ("Hi {{ name }}", 1, 7, "variables start with customer."),
        ("Hi\n  {{ customer.x | trim }}", 2, 19, "no filter 'trim'"),
        ("Hi\n\n{% if %}", 3, 1, "not taken"),
        ("a {{ offer.name }}\r\nb {{ 1 + 1 }}", 2, 3, "only variables"),
        ("a {{ customer.x | round('2') }}", 1, 19, "round(2)"),
        ("a {{ customer.x", 1, 3, "cannot be read"),
    ],
)
def test_a_mistake_comes_with_its_place(source: str, line: int, column: int, words: str) -> None:
    with pytest.raises(RuleError) as refused:
        parse_text(source)
    assert (refused.value.line, refused.value.column) == (line, column)
    assert words in refused.value.message


SYNTAX = st.text(alphabet="{}%#|()[]'\"., \n\\-+*~:=_0123" + string.ascii_lowercase, max_size=60)
WORDS = (
    "{{",
    "}}",
    "customer",
    ".",
    "first_name",
    "|",
    "title",
    "default",
    "(",
    "'x'",
    ")",
    " ",
    "\n",
    "-",
    "[",
)
PIECES = st.lists(st.sampled_from(WORDS), max_size=25).map("".join)


@settings(max_examples=400)
@given(source=SYNTAX | PIECES | st.text(max_size=30).map(lambda s: "{{" + s + "}}"))
@example("{{ customer.a\n.b }}")
@example("{{customer.é}}")
def test_any_text_is_read_or_refused_with_its_place(source: str) -> None:
    if refusal(source) is None:
        assert isinstance(parse_text(source).render(lambda path: None), str)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FILTERS = ("upper", "lower", "title", "capitalize", "round", "round(3)", "join", "join('/')", "default('d')")
CHAIN = st.lists(st.sampled_from(FILTERS), max_size=4)


@settings(max_examples=300)
@given(value=JSON, chain=CHAIN, fallback=st.none() | st.text(max_size=20))
def test_any_data_can_be_said(value: Any, chain: list[str], fallback: str | None) -> None:
    text = parse_text("[{{ " + " | ".join(["customer.x", *chain]) + " }}]")
    fallbacks = {} if fallback is None else {"customer.x": fallback}
    spoken = text.render(lambda path: value, fallbacks)
    assert spoken[0] == "["
    assert len(spoken) <= MAX_CHARS


@settings(max_examples=300)
@given(
    before=st.text(alphabet=st.characters(exclude_characters="{}\r", codec="utf-8"), max_size=20),
    value=JSON,
    fallback=st.text(max_size=20),
)
def test_nothing_is_said_but_the_text_and_the_data(before: str, value: Any, fallback: str) -> None:
    text = parse_text(before + "{{ customer.x }}")
    known = plain_value(value)
    expected = fallback if known is None else format_value(known)
    assert text.render(lambda path: value, {"customer.x": fallback}) == (before + expected)[:MAX_CHARS]
    if isinstance(value, str) and value.strip():
        assert expected == value

"""Questions of rules about a customer's own history: ``history.shown('gold', '5d')``.

Calls are found in an expression before it is checked, and each is replaced by a variable of its type: evaluators know
nothing of history, and whoever evaluates gives the values of the variables. Names and windows are written out, so that
it is known beforehand what has to be read and how long it is kept.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from hashlib import blake2b
from typing import Literal

from rules.errors import RuleError
from rules.operands import closing_of, end_of
from rules.tokens import Token, literal, position, tokens
from rules.vocabulary import HISTORY, Attribute, AttributeType

Measure = Literal["ever", "count", "days_since", "last_outcome"]
Scope = Literal["offer", "group", "goal", "all"]

VERBS = ("shown", "presented", "clicked", "accepted", "rejected", "answered")
"""What is looked for: ``answered`` is accepted or rejected."""
HAD = "had"
"""Looks for an outcome that is named first: ``history.had('quoted', 'gold', '7d')``."""
LAST_OUTCOMES = ("presented", "clicked", "accepted", "rejected", "none")
"""The answers to ``last_outcome`` beside the outcomes that a catalogue declares."""
MAX_WITHIN_S = 366 * 86_400
"""The longest window, and that of a call without one."""

_MEASURES: Mapping[str, tuple[Measure, str]] = {
    **{verb: ("ever", verb) for verb in (*VERBS, HAD)},
    **{f"count_{verb}": ("count", verb) for verb in (*VERBS, HAD)},
    **{f"days_since_{verb}": ("days_since", verb) for verb in (*VERBS, HAD)},
    "last_outcome": ("last_outcome", "outcome"),
}  # fmt: skip
_TYPES: Mapping[Measure, AttributeType] = {
    "ever": "bool",
    "count": "int",
    "days_since": "number",
    "last_outcome": "string",
}
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_WINDOW = re.compile(r"([1-9]\d{0,8})([smhdw])")
_NAMED = re.compile(r"(?:(group|goal):)?([A-Za-z0-9][A-Za-z0-9._-]{0,63})")
_OUTCOME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BLANK = "'...', "
_FORMS = "an offer's id, 'group:<id>', 'goal:<name>', or '*' for all offers"


@dataclass(frozen=True, slots=True)
class HistoryCall:
    """One question about a customer's history.

    ``name``: of the offer, group or goal in ``scope``; empty for all. ``within_s``: how far back it looks, in seconds.
    ``text``: the call as it is written everywhere, with single quotes. ``outcome``: that it looks for, if it names one.
    """

    measure: Measure
    verb: str
    scope: Scope
    name: str
    within_s: int
    text: str
    outcome: str = ""

    @property
    def path(self) -> str:
        """The variable that stands for it: no longer than any call, so that positions in the source stay."""
        return f"{HISTORY}.h{blake2b(self.text.encode(), digest_size=8).hexdigest()[:9]}"

    @property
    def variable(self) -> str:
        """The name of its variable below ``history``."""
        return self.path.partition(".")[2]

    def attribute(self, outcomes: Iterable[str] = ()) -> Attribute:
        """Declare its variable. ``outcomes``: those that the catalogue declares."""
        values = (
            (*dict.fromkeys((*sorted(outcomes), *LAST_OUTCOMES)),) if self.measure == "last_outcome" else ()
        )
        return Attribute(self.path, _TYPES[self.measure], values=values)


@dataclass(frozen=True, slots=True)
class HistoryUse:
    """A call in a source: where it begins and ends, and as it is written there."""

    call: HistoryCall
    start: int
    end: int
    written: str


@lru_cache(maxsize=4096)
def parse_call(text: str) -> HistoryCall | None:
    """Read a text that is one call and nothing else; ``None`` if it is not one."""
    try:
        uses = find_calls(text)
    except RuleError:
        return None
    whole = len(uses) == 1 and (uses[0].start, uses[0].end) == (0, len(text))
    return uses[0].call if whole else None


def calls_among(paths: Iterable[str]) -> tuple[HistoryCall, ...]:
    """Select the calls among paths of facts."""
    found = (parse_call(path) for path in paths if path.startswith(f"{HISTORY}."))
    return tuple(call for call in found if call is not None)


def find_calls(source: str) -> list[HistoryUse]:
    """Find the calls in an expression.

    Raises ``RuleError`` for what begins like a call and is none: where, why, and what to write.
    """
    if HISTORY not in source:
        return []
    found = list(tokens(source))
    return list(_uses(source, found))


def with_variables(source: str, uses: Sequence[HistoryUse]) -> str:
    """Put its variable in the place of every call, and blanks, so that positions stay."""
    for use in uses:
        source = source[: use.start] + _padded(use) + source[use.end :]
    return source


def with_calls(message: str, uses: Sequence[HistoryUse]) -> str:
    """Put the calls back into a text that speaks of their variables."""
    for use in uses:
        message = message.replace(_padded(use), use.written).replace(use.call.path, use.call.text)
    return message


def _padded(use: HistoryUse) -> str:
    rest = use.written[len(use.call.path) :]
    return use.call.path + "".join("\n" if char == "\n" else " " for char in rest)


def _uses(source: str, found: Sequence[Token]) -> Iterator[HistoryUse]:
    for i, token in enumerate(found):
        if token.kind != "name" or token.text.partition(".")[0] != HISTORY:
            continue
        name = token.text.partition(".")[2]
        opening = found[i + 1].text if i + 1 < len(found) else ""
        if name not in _MEASURES:
            raise _unknown_function(source, token, name)
        closes = closing_of(found, i + 1) if opening == "(" else None
        if closes is None:
            raise RuleError(
                f"{token.text} is a function: it takes {_arguments_of(name)}, and a window",
                *position(source, token.at),
                f"write {token.text}({_BLANK * _names_taken(name)}'30d')",
            )
        end = end_of(found[closes], source)
        call = _call(source, token, name, found[i + 2 : closes])
        yield HistoryUse(call, token.at, end, source[token.at : end])


def _unknown_function(source: str, token: Token, name: str) -> RuleError:
    near = get_close_matches(name, _MEASURES, n=1, cutoff=0.6)
    there = ", ".join((*VERBS, HAD, "count_<one of these>", "days_since_<one of these>", "last_outcome"))
    return RuleError(
        f"there is no {token.text}: there are {there}",
        *position(source, token.at),
        f"did you mean {HISTORY}.{near[0]}?" if near else None,
    )


def _call(source: str, function: Token, name: str, inner: Sequence[Token]) -> HistoryCall:
    """Read the arguments. Raises ``RuleError``."""
    texts = [token for token in inner if token.text != ","]
    commas = len(inner) - len(texts)
    if [t.kind for t in texts[-3:]] == ["string", "number", "name"]:
        window = texts[-2].text + texts[-1].text
        where = position(source, texts[-2].at)
        raise RuleError("a window stands in quotes", *where, f"write '{window}'")
    names = _names_taken(name)
    if not names <= len(texts) <= names + 1 or commas != len(texts) - 1 or inner[0].text == ",":
        raise RuleError(
            f"{function.text} takes {_arguments_of(name)}, and perhaps a window such as '30d'",
            *position(source, function.at),
        )
    values = []
    for token in texts:
        value = literal(token.text) if token.kind == "string" else None
        if value is None:
            raise RuleError(
                f"{function.text} takes texts in quotes, since it must be known beforehand what is read",
                *position(source, token.at),
                f"write '{token.text}'" if token.kind == "name" and "." not in token.text else None,
            )
        values.append(value)
    outcome = _outcome(source, texts[0], values[0]) if names == 2 else ""
    scope, named = _named(source, texts[names - 1], values[names - 1])
    within_s = _seconds(source, texts[-1], values[-1]) if len(texts) > names else MAX_WITHIN_S
    measure, verb = _MEASURES[name]
    arguments = ", ".join(f"'{value}'" for value in values)
    return HistoryCall(measure, verb, scope, named, within_s, f"{HISTORY}.{name}({arguments})", outcome)


def _names_taken(name: str) -> int:
    """Return how many names a function takes before the window: an outcome, and what it is about."""
    return 2 if _MEASURES[name][1] == HAD else 1


def _arguments_of(name: str) -> str:
    return f"an outcome, then {_FORMS}" if _names_taken(name) == 2 else _FORMS


def _outcome(source: str, token: Token, value: str) -> str:
    if _OUTCOME.fullmatch(value) is None:
        raise RuleError(
            f"{value!r} is no outcome: write its id, such as 'accepted'", *position(source, token.at)
        )
    return value


def _named(source: str, token: Token, value: str) -> tuple[Scope, str]:
    if value == "*":
        return "all", ""
    match = _NAMED.fullmatch(value)
    if match is None:
        raise RuleError(f"{value!r} names nothing: write {_FORMS}", *position(source, token.at))
    scope: Scope = "offer" if match[1] is None else "group" if match[1] == "group" else "goal"
    return scope, match[2]


def _seconds(source: str, token: Token, value: str) -> int:
    match = _WINDOW.fullmatch(value)
    if match is None:
        raise RuleError(
            f"{value!r} is no window: a number and one of s, m, h, d, w, such as '12h' or '30d'",
            *position(source, token.at),
        )
    within_s = int(match[1]) * _UNITS_S[match[2]]
    if within_s > MAX_WITHIN_S:
        raise RuleError(
            f"a window of {value!r} is too long: contacts are kept for 366 days at most",
            *position(source, token.at),
            "write '366d', or leave it out",
        )
    return within_s

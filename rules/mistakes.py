"""Mistakes that people make who know other languages: found in an expression that cannot be read, and mended.

A finder looks for the first mistake of one kind and says what to write in its place. ``mend`` lets all finders look,
the earlier ones first, until the expression can be read or nobody finds anything more.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from rules.operands import CLOSING, OPENING, closing_of, end_of, operand_after, operand_before, word
from rules.tokens import Token, literal, tokens

MAX_MENDS, MAX_TOKENS = 40, 6_000
"""Mistakes of one expression that are mended, and tokens that are looked through for that."""
_SIGNS = {"≥": ">=", "≤": "<=", "≠": "!=", "=>": ">=", "=<": "<=", "<>": "!=", "===": "==", "!==": "!="}
_SIGNS |= {"=": "==", "&": "&&", "|": "||", "∧": "&&", "∨": "||", "¬": "!"}
_WRONG_SIGN = re.compile(r"===|!==|<>|=>|=<|[≥≤≠∧∨¬]|(?<![=!<>])=(?!=)|(?<!&)&(?!&)|(?<!\|)\|(?!\|)")
_QUOTES = ("‘’‚´`'", '“”„«»"')
"""What is written for a single quote, and for a double one; the last of each is the one that CEL knows."""
_APOSTROPHE = re.compile(r"'([^'\\\n]*\w'\w[^'\\\n]*)'(?![\w'])")
_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">=", "in"))


@dataclass(frozen=True, slots=True)
class Mend:
    """A correction: the text from ``start`` to ``end`` of an expression, why, and where the mistake is (``at``)."""

    start: int
    end: int
    text: str
    message: str
    at: int

    def apply(self, source: str) -> str:
        """Return the expression with this mistake mended."""
        return source[: self.start] + self.text + source[self.end :]


Finder = Callable[[str, Sequence[Token]], Mend | None]


@dataclass(frozen=True, slots=True)
class Mended:
    """The first mistake of an expression, and the expression without any that were found."""

    first: Mend
    source: str


def first_mistake(source: str, finders: Sequence[Finder]) -> Mend | None:
    """Return what the finders find earliest in an expression; ``None`` if they find nothing."""
    found = list(tokens(source))
    mends = [one for finder in finders if (one := finder(source, found)) is not None]
    return min(mends, key=lambda one: one.at, default=None)


def mend(source: str, finders: Sequence[Finder]) -> Mended | None:
    """Mend what ``finders`` find, in their order; ``None`` if they find nothing.

    Of long expressions only the first mistakes are mended, so that nobody waits for it.
    """
    first = first_mistake(source, finders)
    if first is None:
        return None
    found = list(tokens(source))
    for _ in range(min(MAX_MENDS, MAX_TOKENS // len(found))):
        one = next((one for finder in finders if (one := finder(source, found)) is not None), None)
        if one is None:
            break
        source = one.apply(source)
        found = list(tokens(source))
    return Mended(first, source.strip())


def _quotes(source: str, found: Sequence[Token]) -> Mend | None:
    """Typographic quotes, as word processors write them."""
    for token in found:
        same = next((signs for signs in _QUOTES if token.text in signs[:-1]), None)
        if same is None:
            continue
        ends = next((at for at in range(token.at + 1, len(source)) if source[at] in same), None)
        if ends is None:
            continue
        inner = source[token.at + 1 : ends]
        sign = '"' if "'" in inner else "'"
        message = f"{token.text} is no quote of CEL: texts stand between ' and '"
        return Mend(token.at, ends + 1, f"{sign}{inner}{sign}", message, token.at)
    return None


def _apostrophes(source: str, found: Sequence[Token]) -> Mend | None:
    """An apostrophe within single quotes, which ends the text there."""
    for token in found:
        match = _APOSTROPHE.match(source, token.at) if token.kind == "string" else None
        if match is not None and '"' not in match[1]:
            message = "the text ends at its apostrophe: put it between double quotes"
            return Mend(token.at, match.end(), f'"{match[1]}"', message, token.at)
    return None


def _doubled_quotes(source: str, found: Sequence[Token]) -> Mend | None:
    """A quote inside of a text, doubled as in SQL."""
    for before, token in pairwise(found):
        if before.kind == token.kind == "string" and before.at + len(before.text) == token.at:
            inner = (literal(before.text) or "") + before.text[-1] + (literal(token.text) or "")
            text = f'"{inner}"' if '"' not in inner else repr(inner)
            end = token.at + len(token.text)
            return Mend(before.at, end, text, "a quote is not doubled inside of a text in CEL", before.at)
    return None


def _signs(source: str, found: Sequence[Token]) -> Mend | None:
    """Signs of other languages: ``=``, ``<>``, ``&``."""
    hidden = source
    for token in found:
        if token.kind == "string":
            hidden = hidden[: token.at] + "s" * len(token.text) + hidden[token.at + len(token.text) :]
    hidden = re.sub(r"//[^\n]*", lambda match: " " * len(match[0]), hidden)
    match = _WRONG_SIGN.search(hidden)
    if match is not None:
        right = _SIGNS[match[0]]
        pad = " " if match[0] in "∧∨" and not source[match.end() : match.end() + 1].isspace() else ""
        message = f"{match[0]} is not an operator of CEL: write {right}"
        return Mend(match.start(), match.end(), right + pad, message, match.start())
    if found and found[-1].text in (";", ","):
        at = found[-1].at
        return Mend(at, at + 1, "", f"an expression does not end with {found[-1].text}", at)
    for i, token in enumerate(found):
        is_inner = token.text == "," and 0 < i < len(found) - 1
        if is_inner and found[i - 1].kind == found[i + 1].kind == "number" and not _depth(found, i):
            message = "decimals are written with a point"
            return Mend(token.at, found[i + 1].at, ".", message, token.at)
    return None


def _percent(source: str, found: Sequence[Token]) -> Mend | None:
    """``30%``."""
    for i in range(1, len(found)):
        number, token = found[i - 1 : i + 1]
        if token.text != "%" or not number.text.replace(".", "", 1).isdecimal():
            continue
        follows = found[i + 1 : i + 2]
        if operand_after(found, i + 1) is None or word(follows[0]) in ("and", "or", "xor"):
            share = Decimal(number.text).scaleb(-2).normalize()
            message = f"% is the remainder of a division in CEL: {number.text}% is {share:f}"
            return Mend(number.at, token.at + 1, f"{share:f}", message, number.at)
    return None


def _if(source: str, found: Sequence[Token]) -> Mend | None:
    """``if x then y``, with or without ``else``."""
    if not found or word(found[0]) != "if":
        return None
    at = {word(t): i for i, t in enumerate(found) if word(t) in ("then", "else") and not _depth(found, i)}
    then, last = at.get("then", 0), len(found) - 1
    otherwise = at.get("else", last + 1)
    if not 1 < then < otherwise - 1 or otherwise == last:
        return None
    condition, yes = _text(source, found, 1, then - 1), _text(source, found, then + 1, otherwise - 1)
    if otherwise > last:
        text = f"!({condition}) || ({yes})"
        message = "CEL has no IF: what holds only if something else does is written !(condition) || (rule)"
    else:
        text = f"({condition}) ? ({yes}) : ({_text(source, found, otherwise + 1, last)})"
        message = "CEL has no IF: write condition ? this : that"
    return Mend(found[0].at, end_of(found[last], source), text, message, found[0].at)


def _between(source: str, found: Sequence[Token]) -> Mend | None:
    """``x between 1 and 2``, and ``not between``."""
    for i, token in enumerate(found):
        if word(token) != "between":
            continue
        negated = i > 0 and word(found[i - 1]) == "not"
        begins = operand_before(found, i - 1 if negated else i)
        low_ends = operand_after(found, i + 1)
        if begins is None or low_ends is None or low_ends + 2 >= len(found):
            return None
        high_ends = operand_after(found, low_ends + 2)
        if high_ends is None or (word(found[low_ends + 1]) != "and" and found[low_ends + 1].text != "&&"):
            return None
        value = _text(source, found, begins, i - 2 if negated else i - 1)
        low = _text(source, found, i + 1, low_ends)
        high = _text(source, found, low_ends + 2, high_ends)
        text = f"{'!' if negated else ''}({value} >= {low} && {value} <= {high})"
        message = "CEL has no BETWEEN: write >= and <="
        return Mend(found[begins].at, end_of(found[high_ends], source), text, message, token.at)
    return None


def _null(source: str, found: Sequence[Token]) -> Mend | None:
    """``is null``, ``is not null``, ``== null``: what is missing is asked for with ``has``."""
    for i, token in enumerate(found):
        if word(token) not in ("null", "none", "nil", "undefined") or i < 2:
            continue
        at = i - 1
        negated = word(found[at]) == "not"
        at -= negated
        sign = found[at].text.lower()
        begins = operand_before(found, at)
        if sign not in ("is", "==", "=", "!=", "<>") or begins != at - 1 or found[at - 1].kind != "name":
            continue
        negated = negated or sign in ("!=", "<>")
        name = _text(source, found, begins, begins)
        text = f"{'' if negated else '!'}has({name})"
        message = f"nothing is null in a rule: has({name}) says whether there is a value"
        return Mend(found[begins].at, end_of(token, source), text, message, found[at].at)
    return None


def _like(source: str, found: Sequence[Token]) -> Mend | None:
    """``x like 'a%'``."""
    for i, token in enumerate(found):
        if word(token) not in ("like", "ilike") or i + 1 >= len(found) or found[i + 1].kind != "string":
            continue
        negated = i > 0 and word(found[i - 1]) == "not"
        begins = operand_before(found, i - negated)
        pattern = literal(found[i + 1].text)
        if begins is None or pattern is None:
            continue
        value = _text(source, found, begins, i - 1 - negated)
        text = ("!" if negated else "") + value + _test_of(pattern, word(token) == "ilike")
        if "%" not in pattern and "_" not in pattern and word(token) == "like":
            text = f"{value} {'!=' if negated else '=='} {found[i + 1].text}"
        end = found[i + 1].at + len(found[i + 1].text)
        message = "CEL has no LIKE: write .contains('...'), .startsWith('...') or .endsWith('...')"
        return Mend(found[begins].at, end, text, message, token.at)
    return None


def _test_of(pattern: str, any_case: bool) -> str:
    """Return the method that does what a pattern of SQL does."""
    inner = pattern.strip("%")
    quoted = f'"{inner}"' if "'" in inner else f"'{inner}'"
    if not any_case and inner and "%" not in inner and "_" not in inner:
        if pattern.startswith("%") and pattern.endswith("%"):
            return f".contains({quoted})"
        return f".startsWith({quoted})" if pattern.endswith("%") else f".endsWith({quoted})"
    regular = (
        re.escape(pattern).replace("%", ".*").replace("_", ".").replace("\\", "\\\\").replace("'", "\\'")
    )
    return f".matches('{'(?i)' if any_case else ''}^{regular}$')"


def _members(source: str, found: Sequence[Token]) -> Mend | None:
    """``in ('a', 'b')`` with round brackets, and ``IN`` in capitals."""
    for i, token in enumerate(found):
        if word(token) != "in":
            continue
        if token.text != "in":
            return Mend(token.at, token.at + 2, "in", f"{token.text} is written in", token.at)
        if i + 1 >= len(found) or found[i + 1].text not in ("(", "{"):
            continue
        closes = closing_of(found, i + 1)
        inner = found[i + 2 : closes]
        if closes is None or not inner or any(t.kind == "name" or t.text in (":", "(") for t in inner):
            continue
        text = f"[{source[found[i + 1].at + 1 : found[closes].at]}]"
        message = "lists stand in square brackets"
        return Mend(found[i + 1].at, found[closes].at + 1, text, message, found[i + 1].at)
    return None


def _not(source: str, found: Sequence[Token]) -> Mend | None:
    """``not x``, and ``x not in y``."""
    for i, token in enumerate(found):
        if word(token) != "not" or i + 1 >= len(found):
            continue
        message = f"{token.text} is written !"
        begins = operand_before(found, i)
        if word(found[i + 1]) == "in" and begins is not None:
            ends = operand_after(found, i + 2)
            if ends is None:
                continue
            value, rest = _text(source, found, begins, i - 1), _text(source, found, i + 2, ends)
            text = f"!({value} in {rest})"
            return Mend(found[begins].at, end_of(found[ends], source), text, message, token.at)
        # As in SQL and Python it is about all that is compared, where ! is about the next operand alone.
        last = _end_of_condition(found, i + 1)
        inner = _text(source, found, i + 1, last)
        plain = operand_after(found, i + 1) == last and not any(
            t.text in _COMPARISONS for t in found[i + 1 : last]
        )
        text = f"!{inner}" if plain else f"!({inner})"
        return Mend(token.at, end_of(found[last], source), text, message, token.at)
    return None


def _end_of_condition(found: Sequence[Token], start: int) -> int:
    """Find the last token of the condition that begins at ``start``."""
    depth = 0
    for at in range(start, len(found)):
        is_end = found[at].text in ("&&", "||", ",", "?", ":", ";") or word(found[at]) in ("and", "or")
        if depth == 0 and at > start and (is_end or found[at].text in CLOSING):
            return at - 1
        depth += (found[at].text in OPENING) - (found[at].text in CLOSING)
    return len(found) - 1


def _contains(source: str, found: Sequence[Token]) -> Mend | None:
    """``x contains 'a'``."""
    for i in range(1, len(found) - 1):
        before, token, after = found[i - 1 : i + 2]
        if before.kind == "name" and word(token) in ("contains", "includes") and after.kind == "string":
            text = f"{before.text}.contains({after.text})"
            return Mend(before.at, end_of(after, source), text, "contains is a method", token.at)
    return None


def _words(source: str, found: Sequence[Token]) -> Mend | None:
    """``AND``, ``OR``, ``XOR``."""
    written = {"and": "&&", "or": "||", "xor": "!="}
    for i, token in enumerate(found):
        sign = written.get(word(token))
        if sign is not None and operand_before(found, i) is not None and i + 1 < len(found):
            end = token.at + len(token.text)
            return Mend(token.at, end, sign, f"{token.text} is written {sign}", token.at)
    return None


def _chains(source: str, found: Sequence[Token]) -> Mend | None:
    """``18 < x < 30``."""
    signs = ("<", "<=", ">", ">=")
    for i in range(1, len(found) - 3):
        if found[i].text in signs and found[i + 2].text in signs and found[i + 1].kind == "name":
            middle, at = _text(source, found, i + 1, i + 1), found[i + 2].at
            message = "comparisons are not chained: join two of them with &&"
            return Mend(at, at, f"&& {middle} ", message, at)
    return None


def _text(source: str, found: Sequence[Token], first: int, last: int) -> str:
    return source[found[first].at : end_of(found[last], source)]


def _depth(found: Sequence[Token], i: int) -> int:
    return sum((token.text in OPENING) - (token.text in CLOSING) for token in found[:i])


SYNTAX: tuple[Finder, ...] = (
    _quotes, _apostrophes, _doubled_quotes, _if, _percent, _between, _null, _like, _contains, _signs, _members, _not,
    _words, _chains,
)  # fmt: skip
"""Finders of what cannot be read, in the order in which they look."""

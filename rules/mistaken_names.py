"""Mistakes of names and types in an expression: what is meant is found in the vocabulary.

The finders are made for one vocabulary; ``rules.mistakes`` tells how they are used.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from itertools import pairwise

from rules.mistakes import Finder, Mend
from rules.operands import closing_of, end_of, word
from rules.tokens import Token, literal
from rules.vocabulary import ROOTS, Vocabulary

_LOOPS = frozenset(("all", "exists", "exists_one", "map", "filter"))
_FUNCTIONS = {"len": "size", "length": "size", "count": "size"}
_METHODS = {
    "startswith": "startsWith",
    "endswith": "endsWith",
    "includes": "contains",
    "contains": "contains",
}
_METHODS |= {"matches": "matches", "size": "size", "length": "size"}
_MAX_TRIED = 20
"""Names of one expression for which others like them are looked for: that takes its time."""
_SIGNS = frozenset(("==", "!=", "<", "<=", ">", ">="))
_TRUTH = {"true": "true", "false": "false", "1": "true", "0": "false", "yes": "true", "no": "false"}


@dataclass(frozen=True, slots=True)
class Names:
    """Finds names and values that are not what the vocabulary and the segments declare."""

    vocabulary: Vocabulary
    segments: Collection[str]

    def finders(self) -> tuple[Finder, ...]:
        """Return the finders, in the order in which they look."""
        return (
            self._truth,
            self._indexed,
            self._quoted_path,
            self._calls,
            self._names,
            self._lists,
            self._values,
        )

    def candidates(self, name: str, *, exactly: bool = False) -> list[str]:
        """Find what a name may have been meant to be: whole paths, the likeliest first.

        ``exactly``: only those that differ in their root, or in small and capital letters.
        """
        lower = name.lower()
        paths = [*self.vocabulary.attributes, *(f"segment.{s}" for s in self.segments)]
        same = [path for path in paths if path.lower() == lower]
        # A root that is missing, or another one: holdings and context.holdings are customer.holdings.
        bare = lower.partition(".")[2] if lower.partition(".")[0] in (*ROOTS, "segment") else lower
        below = [path for path in paths if path.lower().partition(".")[2] == bare]
        ends = [path for path in paths if path.lower().endswith(f".{bare}")]
        near = [] if exactly else self._near(name, bare)
        return list(dict.fromkeys([*same, *below, *ends, *near]))

    def _near(self, name: str, bare: str) -> list[str]:
        """Find paths that are written almost as ``name`` is, or as ``bare`` below one of the roots."""
        if name.startswith("segment."):
            return [f"segment.{near}" for near in get_close_matches(bare, self.segments, n=1, cutoff=0.75)]
        if "." in name and (near := self.vocabulary.like(name)) is not None:
            return [near]
        by_name = {path.partition(".")[2]: path for path in reversed(list(self.vocabulary.attributes))}
        return [by_name[near] for near in get_close_matches(bare, by_name, n=1, cutoff=0.75)]

    def _truth(self, source: str, found: Sequence[Token]) -> Mend | None:
        for token in found:
            right = word(token)
            if right in ("true", "false") and token.text != right:
                message = f"{token.text} is written {right}"
                return Mend(token.at, token.at + len(right), right, message, token.at)
        return None

    def _indexed(self, source: str, found: Sequence[Token]) -> Mend | None:
        """``customer['age']``."""
        for i in range(len(found) - 3):
            root, opening, name, closing = found[i : i + 4]
            inner = literal(name.text) if name.kind == "string" else None
            if root.text in ROOTS and opening.text == "[" and closing.text == "]" and inner is not None:
                path = f"{root.text}.{inner}"
                if path in self.vocabulary.attributes:
                    message = f"attributes are named with points: {path}"
                    return Mend(root.at, closing.at + 1, path, message, root.at)
        return None

    def _quoted_path(self, source: str, found: Sequence[Token]) -> Mend | None:
        """``'a' in 'customer.holdings'``: a name in quotes is a text."""
        for before, token in pairwise(found):
            name = literal(token.text) if token.kind == "string" else None
            if before.text == "in" and name:
                paths = [name] if name in self.vocabulary.attributes else self.candidates(name)[:1]
                if paths:
                    message = f"{token.text} is a text; the attribute is written without quotes"
                    return Mend(token.at, token.at + len(token.text), paths[0], message, token.at)
        return None

    def _calls(self, source: str, found: Sequence[Token]) -> Mend | None:
        """Functions and methods under other names."""
        for i, token in enumerate(found[:-1]):
            if token.kind != "name" or found[i + 1].text != "(":
                continue
            end = end_of(token, source)
            if word(token) in ("now", "today", "current_date", "current_timestamp", "getdate"):
                closes = closing_of(found, i + 1)
                if closes == i + 2:
                    message = "the time of the decision is now, without brackets"
                    return Mend(token.at, found[closes].at + 1, "now", message, token.at)
            right = _FUNCTIONS.get(word(token))
            if right is not None:
                return Mend(token.at, end, right, f"{token.text} is called {right}", token.at)
            path, _, method = token.text.rpartition(".")
            right = _METHODS.get(method.lower())
            if path and right is not None and right != method:
                at = end - len(method)
                return Mend(at, end, right, f"{method} is called {right}", at)
        return None

    def _names(self, source: str, found: Sequence[Token]) -> Mend | None:
        """Names without their root, with a wrong one, in other letters, or that are texts without quotes."""
        tried: set[str] = set()
        local = {found[i + 2].text for i in range(len(found) - 2) if _is_loop(found, i)}
        for i, token in enumerate(found):
            if token.kind != "name" or self._is_known(token.text, local) or word(token) in ("in", "has"):
                continue
            if word(token) in ("and", "or", "not", "between", "like", "is", "null", "true", "false"):
                continue
            is_call = i + 1 < len(found) and found[i + 1].text == "("
            name, method = token.text, ""
            if is_call:
                name, _, method = token.text.rpartition(".")
                if not name or name in local or self._is_known(name, local):
                    continue
            end = end_of(token, source)
            message = f"there is no {_kind_of(name)} {name!r} in the vocabulary"
            if not is_call and self._is_text(name, found, i):
                return Mend(token.at, end, f"'{name}'", f"{message}; texts stand in quotes", token.at)
            if name in tried or len(tried) >= _MAX_TRIED:
                continue
            tried.add(name)
            paths = self.candidates(name)
            if name in ROOTS and i > 0 and found[i - 1].text == "in":
                paths = [path for path in self.vocabulary.attributes if self._is_list_of(path, name)]
            if paths:
                text = f"{paths[0]}.{method}" if method else paths[0]
                return Mend(token.at, end, text, message, token.at)
        return None

    def _is_list_of(self, path: str, root: str) -> bool:
        return path.startswith(f"{root}.") and self._type(path) == "list"

    def _is_known(self, name: str, local: Collection[str]) -> bool:
        """Return whether a dotted name begins with something that is declared."""
        parts = name.split(".")
        if (
            parts[0] in local
            or parts[0] == "now"
            or (parts[0] == "segment" and parts[1:2] and parts[1] in self.segments)
        ):
            return True
        return any(".".join(parts[:end]) in self.vocabulary.attributes for end in range(2, len(parts) + 1))

    def _is_text(self, name: str, found: Sequence[Token], i: int) -> bool:
        """Return whether a name stands where a text is compared with an attribute that can have it as a value."""
        if "." in name or i < 2 or found[i - 1].text not in ("==", "!=", "="):
            return False
        attribute = self.vocabulary.attributes.get(found[i - 2].text)
        if attribute is None or attribute.type != "string":
            return False
        return name in attribute.values if attribute.values else not self.candidates(name, exactly=True)

    def _lists(self, source: str, found: Sequence[Token]) -> Mend | None:
        """Lists that are compared as if they were one text."""
        for i, token in enumerate(found):
            path, _, method = token.text.rpartition(".")
            if method == "contains" and self._type(path) == "list" and i + 2 < len(found):
                closes = closing_of(found, i + 1) if found[i + 1].text == "(" else None
                if closes is not None:
                    text = f"{source[found[i + 1].at + 1 : found[closes].at]} in {path}"
                    return Mend(token.at, found[closes].at + 1, text, _list_message(path), token.at)
            if self._type(token.text) != "list" or i + 2 >= len(found):
                continue
            sign, other = found[i + 1], found[i + 2]
            if other.kind == "string" and (
                sign.text in ("==", "!=") or word(sign) in ("contains", "has", "includes")
            ):
                member = f"{other.text} in {token.text}"
                text = f"!({member})" if sign.text == "!=" else member
                end = other.at + len(other.text)
                return Mend(token.at, end, text, _list_message(token.text), token.at)
            closes = closing_of(found, i + 2) if sign.text == "in" and other.text == "[" else None
            if closes is not None:
                members = source[other.at : found[closes].at + 1]
                text = f"{token.text}.exists(x, x in {members})"
                return Mend(token.at, found[closes].at + 1, text, _list_message(token.text), token.at)
        return None

    def _values(self, source: str, found: Sequence[Token]) -> Mend | None:
        """Literals of another type than the attribute that they are compared with."""
        for i, token in enumerate(found):
            type_ = self._type(token.text) if token.kind == "name" else None
            if type_ is None:
                continue
            for other in _compared_with(found, i):
                if type_ == "int" and re.fullmatch(r"\d*\.\d*[1-9]\d*", other.text):
                    text = f"double({token.text})"
                    return Mend(token.at, end_of(token, source), text, f"{token.text} is an int", other.at)
                right = _converted(other, type_)
                if right is not None and right != other.text:
                    message = f"{token.text} is a {type_}"
                    return Mend(other.at, other.at + len(other.text), right, message, other.at)
        return None

    def _type(self, path: str) -> str | None:
        attribute = self.vocabulary.attributes.get(path)
        return "timestamp" if path == "now" else None if attribute is None else attribute.type


def _is_loop(found: Sequence[Token], i: int) -> bool:
    """Return whether at ``i`` begins ``x.exists(name``."""
    return found[i].kind == "name" and found[i].text.rpartition(".")[2] in _LOOPS and found[i + 1].text == "("


def _kind_of(name: str) -> str:
    return "attribute" if name.partition(".")[0] in ROOTS else "name or function"


def _list_message(path: str) -> str:
    return f"{path} is a list: ask whether it has a text with 'text' in {path}"


def _compared_with(found: Sequence[Token], i: int) -> Iterator[Token]:
    """Yield the literals that what is at ``i`` is compared with."""
    after = i + 1
    if after < len(found) and found[after].text in _SIGNS:
        after += 1
        after += after < len(found) and found[after].text == "-"
        if after < len(found) and found[after].kind in ("string", "number", "name"):
            yield found[after]
    elif after + 1 < len(found) and found[after].text == "in" and found[after + 1].text == "[":
        closes = closing_of(found, after + 1) or after
        yield from (token for token in found[after + 2 : closes] if token.kind in ("string", "number"))
    if i >= 2 and found[i - 1].text in _SIGNS and found[i - 2].kind in ("string", "number"):
        yield found[i - 2]


def _converted(token: Token, type_: str) -> str | None:
    """Write a literal as one of ``type_``; ``None`` if it cannot be."""
    text = literal(token.text) if token.kind == "string" else token.text
    if text is None or token.kind == "name":
        return None
    if type_ in ("number", "int") and re.fullmatch(r"\d+(\.\d+)?", text):
        if type_ == "number":
            return text if "." in text else f"{text}.0"
        return text.partition(".")[0] if float(text).is_integer() else None
    if type_ == "bool":
        return _TRUTH.get(text.lower())
    if type_ == "string" and token.kind == "number":
        return f"'{text}'"
    return _instant(text) if type_ == "timestamp" and token.kind == "string" else None


def _instant(text: str) -> str | None:
    """Write a date, or a date and time, as CEL's timestamp, in UTC unless it says another zone."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    written = at.isoformat() if at.tzinfo else f"{at.isoformat()}Z"
    return f"timestamp('{written.replace('+00:00', 'Z')}')"

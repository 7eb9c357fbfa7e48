"""Values that nothing ever has: in rules, compared with an attribute; in a context that is tried. Costly windows."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.checking.warning import CatalogueWarning
from decisioning.contact.own_history import LONG_WINDOW_S
from rules.history import find_calls
from rules.tokens import Token, compared_with, literal, tokens
from rules.vocabulary import Attribute, Vocabulary

_PARTS = {"startsWith": str.startswith, "endsWith": str.endswith, "contains": str.__contains__}
_MAX_SHOWN = 10
MAX_COMPARISONS = 20_000
"""Under half a second of looking for values that are like another one, in one look over a catalogue."""


class KnownValues:
    """The values that built-in attributes can have in a catalogue: sorted once, in one look over all expressions."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._sources: Mapping[str, Iterable[str]] = {
            "context.channel": {placement.channel for placement in catalogue.placements.values()},
            "context.placement": catalogue.placements,
            "offer.group": catalogue.groups,
            "offer.offer_id": catalogue.offers,
        }
        self._sorted: dict[str, dict[str, None]] = {}
        self._like: dict[tuple[str, str], str | None] = {}
        self._left = MAX_COMPARISONS

    def of(self, path: str) -> Collection[str]:
        """Return the values of an attribute in their order; none where that is not known."""
        if path not in self._sources:
            return ()
        if path not in self._sorted:
            self._sorted[path] = dict.fromkeys(sorted(self._sources[path]))
        return self._sorted[path]

    def like(self, path: str, value: str) -> str | None:
        """Return the value of an attribute that is most like another one.

        ``None`` if none is, or when as many were compared as one look over a catalogue may.
        """
        if (path, value) not in self._like:
            values = self.of(path)
            if self._left < len(values):
                return None
            self._left -= len(values)
            near = get_close_matches(value, values, n=1, cutoff=0.6)
            self._like[path, value] = near[0] if near else None
        return self._like[path, value]


def compared_warnings(
    catalogue: Catalogue, field: str, source: str, known: KnownValues | None = None
) -> Iterator[CatalogueWarning]:
    """Yield the literals of an expression that what they are compared with never is.

    Texts outside of declared values are refused when a rule is saved. Here is what that does not see: numbers,
    parts of texts, and the channels, placements, groups and offers that there are in the catalogue. ``known``: those,
    for whoever looks at many expressions.
    """
    found = list(tokens(source))
    known = KnownValues(catalogue) if known is None else known
    for i, token in enumerate(found):
        if token.kind != "name":
            continue
        values = known.of(token.text)
        if values:
            texts = [literal(t.text) for t in compared_with(found, i) if t.kind == "string"]
            for text in texts:
                if text is not None and text not in values:
                    yield _never(field, token.text, text, values, known.like(token.text, text))
        attribute = catalogue.checker.vocabulary.attributes.get(token.text)
        if attribute is not None and attribute.values and attribute.type in ("int", "number"):
            numbers = [float(v) for v in attribute.values if not isinstance(v, str)]
            for number in _numbers(found, i):
                if number not in numbers:
                    shown, declared = f"{number:g}", [f"{n:g}" for n in numbers]
                    near = get_close_matches(shown, declared, n=1, cutoff=0.6)
                    yield _never(field, token.text, shown, declared, near[0] if near else None)
        yield from _parts(catalogue.checker.vocabulary, field, found, i)


def _numbers(found: Sequence[Token], i: int) -> Iterator[float]:
    for sign, number in ((i + 1, i + 2), (i - 1, i - 2)):
        is_there = min(sign, number) >= 0 and max(sign, number) < len(found)
        if is_there and found[sign].text in ("==", "!=") and found[number].kind == "number":
            yield float(found[number].text.rstrip("u"))


def _parts(vocabulary: Vocabulary, field: str, found: Sequence[Token], i: int) -> Iterator[CatalogueWarning]:
    """``context.reason.startsWith('x')``, where no declared value does."""
    path, _, method = found[i].text.rpartition(".")
    attribute = vocabulary.attributes.get(path)
    test = _PARTS.get(method)
    if test is None or attribute is None or not attribute.values or i + 2 >= len(found):
        return
    text = literal(found[i + 2].text) if found[i + 1].text == "(" and found[i + 2].kind == "string" else None
    values = [str(value) for value in attribute.values]
    if text is not None and attribute.type == "string" and not any(test(value, text) for value in values):
        shown = ", ".join(values[:_MAX_SHOWN])
        message = f"{path}.{method}({text!r}) is never true"
        yield CatalogueWarning(field, message, f"the declared values of {path} are {shown}")


def _never(field: str, path: str, value: str, values: Iterable[str], near: str | None) -> CatalogueWarning:
    shown = ", ".join(islice(values, _MAX_SHOWN))
    way_out = f"there are {shown}" if near is None else f"did you mean {near!r}?"
    return CatalogueWarning(field, f"{path} is never {value!r}", way_out)


def history_warnings(field: str, source: str) -> Iterator[CatalogueWarning]:
    """Yield the questions of an expression to the history that look back so far that it costs memory."""
    for use in find_calls(source):
        days = use.call.within_s / 86_400
        if use.call.within_s > LONG_WINDOW_S:
            yield CatalogueWarning(
                field,
                f"{use.call.text} looks back {days:g} days, and for as long the contacts of all customers are kept",
                "name a shorter window, such as '30d', if it is enough",
            )


def unseen_warnings(
    vocabulary: Vocabulary, source: str, customers: Sequence[Mapping[str, Any]]
) -> list[CatalogueWarning]:
    """Return the texts that an expression looks for, and that none of the ``customers`` has.

    ``customers``: what is known of each, by name below ``customer``.
    """
    found = list(tokens(source))
    warnings = []
    for i, token in enumerate(found):
        attribute = vocabulary.attributes.get(token.text) if token.kind == "name" else None
        names = token.text.split(".")[1:]
        if (
            attribute is None
            or attribute.type not in ("string", "list")
            or not token.text.startswith("customer.")
        ):
            continue
        texts = [literal(other.text) for other in compared_with(found, i) if other.kind == "string"]
        if not customers or not any(texts):
            continue
        seen = Counter(text for customer in customers for text in _texts_at(customer, names))
        for text in texts:
            if text is not None and text not in seen:
                near = get_close_matches(text, seen, n=1, cutoff=0.6)
                there = ", ".join(value for value, _ in seen.most_common(_MAX_SHOWN))
                way_out = (
                    f"did you mean {near[0]!r}?"
                    if near
                    else f"there are {there}"
                    if seen
                    else "it is always empty"
                )
                message = f"none of the {len(customers)} customers looked at has {text!r} in {token.text}"
                warnings.append(CatalogueWarning("expression", message, way_out))
    return warnings


def _texts_at(facts: Mapping[str, Any], names: Sequence[str]) -> Iterable[str]:
    value: Any = facts
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        return (value,)
    return [text for text in value if isinstance(text, str)] if isinstance(value, list | tuple) else ()


def is_as_declared(attribute: Attribute, value: Any) -> bool:
    """Return whether a value in a context is one that its attribute can have."""
    given = value if isinstance(value, list) else [value]
    if attribute.values and any(
        isinstance(v, str | int | float) and v not in attribute.values for v in given
    ):
        return False
    return isinstance(value, list) == (attribute.type == "list")


def context_warnings(vocabulary: Vocabulary, context: Mapping[str, Any]) -> list[CatalogueWarning]:
    """Return what is odd in a context: values that are not declared, of another type, or under a misspelt name."""
    return list(_look_at(vocabulary, "context", context))


def _look_at(vocabulary: Vocabulary, path: str, values: Mapping[str, Any]) -> Iterator[CatalogueWarning]:
    for name, value in values.items():
        below = f"{path}.{name}"
        attribute = vocabulary.attributes.get(below)
        if attribute is None:
            if isinstance(value, Mapping):
                yield from _look_at(vocabulary, below, value)
            elif (near := vocabulary.like(below)) is not None:
                yield CatalogueWarning(below, "is not declared, so no rule knows it", f"did you mean {near}?")
            continue
        given = value if isinstance(value, list) else [value]
        declared = [str(v) for v in attribute.values]
        for one in given:
            if isinstance(one, str | int | float) and declared and one not in attribute.values:
                near_values = get_close_matches(str(one), declared, n=1, cutoff=0.6)
                shown = f"its values are {', '.join(declared[:_MAX_SHOWN])}"
                way_out = f"did you mean {near_values[0]!r}? {shown}" if near_values else shown
                yield CatalogueWarning(below, f"{one!r} is not a declared value", way_out)
        if isinstance(value, list) != (attribute.type == "list"):
            kind = f"is declared as {attribute.type}, so no condition on it is met"
            yield CatalogueWarning(below, kind, f"send a {attribute.type}")

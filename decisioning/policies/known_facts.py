"""The facts that are known to come with requests: those declared in the vocabulary, and those that keep coming.

From declarations and samples (of customers, and of the contexts of decisions) to what ``bandits.auto_features`` chooses
from. Pure.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from bandits.auto_features import FactKind, KnownFact
from bandits.feature_columns import category_text, category_texts, finite_number
from bandits.features import MAX_NUMBER, PATH, Feature
from rules.vocabulary import Attribute, AttributeType

MIN_SEEN, MIN_SHARE = 20, 0.05
"""A fact that nobody declared keeps coming if it was seen so often, and in that share of what was looked at."""
MAX_DISTINCT = 50
"""A text with more values than this, most of them different, is an identifier, of which nothing can be learned."""
ALWAYS_SHARE = 0.98
IGNORED = frozenset(("customer.customer_id", "customer.known", "context.channel", "context.placement"))
"""Facts that say who or where it is, not what the customer is like."""

_KIND_OF_TYPE: Mapping[AttributeType, FactKind] = {
    "string": "text",
    "number": "number",
    "int": "number",
    "bool": "truth",
    "list": "texts",
}
_SIGNIFICANT_DIGITS = 6
_RANGE = (0.01, 0.99)
_TOLD_BY_EVENTS = ("events.", "interests.")

Sample = Sequence[Mapping[str, Any]]
"""Facts by path, of some customers or of some requests."""


def known_facts(attributes: Iterable[Attribute], samples: Iterable[Sample]) -> list[KnownFact]:
    """Describe what is declared, and what keeps coming in samples, each of which is of other paths than the others.

    Left out: points in time, identifiers, facts that are always the same though they were seen, and of undeclared ones
    those that have values of several kinds.
    """
    declared = {a.path: a for a in attributes if a.path not in IGNORED and PATH.fullmatch(a.path)}
    found = []
    left = dict(declared)
    for sample in samples:
        for path in sorted({path for facts in sample for path in facts} - IGNORED):
            attribute = left.pop(path, None)
            values = [facts[path] for facts in sample if path in facts]
            fact = _observed_fact(path, attribute, values, len(sample))
            if fact is not None:
                found.append(fact)
    unseen = (_declared_fact(attribute) for attribute in left.values())
    return [*found, *(fact for fact in unseen if fact is not None)]


@dataclass(frozen=True, slots=True)
class Unsent:
    """Why nothing comes of a fact, and the path that may have been meant."""

    reason: str
    like: str | None


def unsent_facts(
    features: Iterable[Feature], attributes: Iterable[Attribute], customers: Sample, contexts: Sample
) -> list[str]:
    """Describe the features whose fact was in none of the samples, with what may have been meant."""
    named = [(feature.name, feature.path or "") for feature in features]
    unsent = unsent_paths((path for _, path in named), attributes, customers, contexts)
    found = []
    for name, path in named:
        if path in unsent:
            like = unsent[path].like
            hint = "" if like is None else f"; did you mean {like!r}?"
            found.append(f"features.{name}.path: {unsent[path].reason}, so nothing is learned from it{hint}")
    return found


def unsent_paths(
    paths: Iterable[str], attributes: Iterable[Attribute], customers: Sample, contexts: Sample
) -> dict[str, Unsent]:
    """Find the paths whose fact was in none of the samples.

    ``attributes``: the vocabulary, what events tell included, of which there is no sample. Nothing is said of a root of
    which nothing was looked at.
    """
    declared = {attribute.path for attribute in attributes}
    samples = {"customer": (customers, "customers"), "context": (contexts, "decisions")}
    sent = {root: {path for facts in sample for path in facts} for root, (sample, _) in samples.items()}
    found = {}
    for path in dict.fromkeys(paths):
        root = path.partition(".")[0]
        if path.startswith(_TOLD_BY_EVENTS):
            if path not in declared:
                found[path] = Unsent(f"{path!r} is not in the catalogue", _like(path, declared))
            continue
        sample, looked_at = samples.get(root, ((), ""))
        if not sample or path in IGNORED:
            continue
        if path in sent[root] or any(known.startswith(f"{path}.") for known in sent[root]):
            continue
        known = "is declared, but" if path in declared else "is not declared, and"
        found[path] = Unsent(
            f"{path!r} {known} none of the last {len(sample)} {looked_at} had it",
            _like(path, sent[root] | (declared - {path})),
        )
    return found


def _like(path: str, known: Iterable[str]) -> str | None:
    near = get_close_matches(path, known, n=1, cutoff=0.75)
    return near[0] if near else None


def _declared_fact(attribute: Attribute) -> KnownFact | None:
    """Describe a fact that was never seen by what is declared of it; ``None`` for what no feature is made of."""
    kind = _KIND_OF_TYPE.get(attribute.type)
    if kind is None:
        return None
    numbers = [float(value) for value in attribute.values if not isinstance(value, str)]
    if kind == "number" and len(numbers) > 1:
        return KnownFact(attribute.path, kind, low=min(numbers), high=max(numbers))
    texts = _texts_of(attribute) if kind in ("text", "texts") else ()
    return KnownFact(attribute.path, kind, values=texts)


def _observed_fact(
    path: str, attribute: Attribute | None, values: Sequence[Any], looked_at: int
) -> KnownFact | None:
    if attribute is None:
        if not PATH.fullmatch(path) or len(values) < max(MIN_SEEN, MIN_SHARE * looked_at):
            return None
        kind = _kind_of(values)
    else:
        kind = _KIND_OF_TYPE.get(attribute.type)
    if kind is None:
        return None
    always = len(values) >= ALWAYS_SHARE * looked_at and len(values) >= MIN_SEEN
    if kind in ("number", "truth"):
        return _number(path, kind, values, always, attribute)
    counted = Counter(text for value in values for text in _names_in(value, kind))
    if attribute is None and len(counted) < (2 if kind == "text" else 1):
        return None
    if kind == "text" and len(counted) > max(MAX_DISTINCT, len(values) / 2):
        return None
    frequent = sorted(counted, key=lambda text: (-counted[text], text))
    # What is declared but was not seen may still come, after what was.
    rest = [text for text in _texts_of(attribute) if text not in counted]
    return KnownFact(path, kind, (*frequent, *rest), always=always, declared=attribute is not None)


def _number(
    path: str, kind: FactKind, values: Sequence[Any], always: bool, attribute: Attribute | None
) -> KnownFact | None:
    declared = attribute is not None
    numbers = [number for number in map(finite_number, values) if number is not None]
    numbers = [number for number in numbers if abs(number) <= MAX_NUMBER]
    if not numbers:
        return None if attribute is None else _declared_fact(attribute)
    low, middle, high = np.quantile(numbers, (_RANGE[0], 0.5, _RANGE[1])).tolist()
    if low == high:
        low, high = min(numbers), max(numbers)
    if low == high:
        # Always the same so far: worth a column only if somebody expects it to differ.
        return None if attribute is None else _declared_fact(attribute)
    if kind == "truth":
        return KnownFact(path, kind, middle=_rounded(middle), always=always, declared=declared)
    low, middle, high = _rounded(low), _rounded(middle), _rounded(high)
    if not low < high:
        return None if attribute is None else _declared_fact(attribute)
    return KnownFact(path, kind, low=low, high=high, middle=middle, always=always, declared=declared)


def _kind_of(values: Sequence[Any]) -> FactKind | None:
    """Return what kind of fact all values are; ``None`` if they differ, or are of none."""
    kinds = {_kind_of_value(value) for value in values}
    return kinds.pop() if len(kinds) == 1 else None


def _kind_of_value(value: Any) -> FactKind | None:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list | tuple):
        return "texts"
    return "strengths" if isinstance(value, Mapping) else None


def _names_in(value: Any, kind: FactKind) -> Iterable[str]:
    if kind == "strengths":
        return list(value) if isinstance(value, Mapping) else ()
    return dict.fromkeys(category_texts(value) or ())


def _texts_of(attribute: Attribute | None) -> tuple[str, ...]:
    texts = map(category_text, () if attribute is None else attribute.values)
    return tuple(text for text in texts if text is not None)


def _rounded(number: float) -> float:
    """Round to what somebody would write: six significant digits."""
    return float(f"{number:.{_SIGNIFICANT_DIGITS}g}")

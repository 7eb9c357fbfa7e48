"""Features of offers for a model: their attributes, frozen in the version when it is registered.

So a decision is replayed, and an outcome learned from, with the same numbers, whatever becomes of the catalogue.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.errors import PolicyParameterError, did_you_mean
from bandits.feature_columns import category_text, finite_number
from bandits.features import NAME
from bandits.policy import IntArray

MAX_FEATURES = 100
MAX_VALUES = 1000
MAX_OFFERS = 10_000


@dataclass(frozen=True, slots=True)
class OfferFeature:
    """One attribute of offers (``offer_id``, ``group``, ``goal``, ``value``, or one of their own).

    As a number, with ``default`` where an offer has none; as one column for each of ``values``; or, with ``text``, as
    it is.
    """

    name: str
    attribute: str
    default: float | None = None
    values: tuple[str, ...] = ()
    text: bool = False

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.values) or 1

    def read(self, attributes: Mapping[str, Any]) -> Sequence[Any]:
        """Make the columns of an offer."""
        value = attributes.get(self.attribute)
        if self.text or self.values:
            text = category_text(value) or ""
            return (text,) if self.text else [float(text == known) for known in self.values]
        number = finite_number(value)
        missing = float("nan") if self.default is None else self.default
        return (missing if number is None else number,)


class OfferTable:
    """The columns of all offers that a version knows. Without features of offers it knows every offer.

    ``offers``: attributes by number, as they stand in the specification (numbers as text).
    """

    def __init__(self, features: tuple[OfferFeature, ...], offers: Mapping[str, Mapping[str, Any]]) -> None:
        numbers = sorted(int(number) for number in offers)
        self._numbers = np.array(numbers, dtype=np.uint32)
        # The last row is that of an offer that is not known.
        known: list[Mapping[str, Any]] = [*(offers[str(number)] for number in numbers), {}]
        self._columns: dict[str, NDArray[Any]] = {}
        for feature in features:
            rows = [feature.read(attributes) for attributes in known]
            self._columns[feature.name] = np.array(rows, dtype=object if feature.text else np.float64)

    def rows(self, numbers: IntArray) -> NDArray[np.intp]:
        """Find the rows of offers: the one behind the last for those that are not known."""
        if not self._columns:
            return np.zeros(len(numbers), dtype=np.intp)
        found = np.searchsorted(self._numbers, numbers)
        found[found == len(self._numbers)] = 0
        unknown = len(self._numbers)
        if unknown == 0:
            return np.zeros(len(numbers), dtype=np.intp)
        return np.where(self._numbers[found] == numbers, found, unknown).astype(np.intp)

    def unknown(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which rows are of offers that are not known."""
        return rows == len(self._numbers) if self._columns else np.zeros(len(rows), dtype=bool)

    def columns(self, name: str) -> NDArray[Any]:
        """Return the columns of a feature, for all offers that are known and one that is not."""
        return self._columns[name]


def parse_offer_features(items: Any) -> tuple[OfferFeature, ...]:
    """Parse ``offer_features``. Raises ``PolicyParameterError``."""
    field = "parameters.offer_features"
    if not isinstance(items, list) or len(items) > MAX_FEATURES:
        raise PolicyParameterError(f"offer_features is a list of at most {MAX_FEATURES} objects", field)
    return tuple(_parse_feature(item, f"{field}[{i}]") for i, item in enumerate(items))


def _parse_feature(item: Any, at: str) -> OfferFeature:
    options = tuple(field.name for field in fields(OfferFeature))
    if not isinstance(item, Mapping):
        raise PolicyParameterError("a feature of offers is an object with a name and an attribute", at)
    for key in item:
        if key not in options:
            have = (
                f"a feature of offers has no {key!r}; it has {', '.join(options)}{did_you_mean(key, options)}"
            )
            raise PolicyParameterError(have, f"{at}.{key}")
    name, attribute = item.get("name"), item.get("attribute", item.get("name"))
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise PolicyParameterError("a feature of offers needs a name: letters, digits, _ and -", f"{at}.name")
    if not isinstance(attribute, str) or not attribute:
        raise PolicyParameterError("attribute is the name of an attribute of offers", f"{at}.attribute")
    values, default, text = item.get("values", []), item.get("default"), item.get("text", False)
    if (
        not isinstance(values, list)
        or len(values) > MAX_VALUES
        or any(category_text(v) is None for v in values)
    ):
        raise PolicyParameterError(f"values is a list of at most {MAX_VALUES} texts", f"{at}.values")
    if default is not None and finite_number(default) is None:
        raise PolicyParameterError(f"default is a number, not {default!r}", f"{at}.default")
    if not isinstance(text, bool):
        raise PolicyParameterError(f"text is true or false, not {text!r}", f"{at}.text")
    if bool(values) + (default is not None) + text > 1:
        raise PolicyParameterError("a feature of offers has values, or a default, or text: true", at)
    known = tuple(str(category_text(value)) for value in values)
    return OfferFeature(name, attribute, None if default is None else float(default), known, text)


def parse_offers(offers: Any) -> Mapping[str, Mapping[str, Any]]:
    """Check the frozen attributes of offers, by number. Raises ``PolicyParameterError``."""
    field = "parameters.offers"
    if not isinstance(offers, Mapping) or len(offers) > MAX_OFFERS:
        raise PolicyParameterError(f"offers maps at most {MAX_OFFERS} numbers to attributes", field)
    for number, attributes in offers.items():
        whole = (
            isinstance(number, str) and number.isascii() and number.isdigit() and str(int(number)) == number
        )
        if not whole or int(number) >= 2**32 or not isinstance(attributes, Mapping):
            raise PolicyParameterError("offers maps the numbers of offers to their attributes", field)
    return offers

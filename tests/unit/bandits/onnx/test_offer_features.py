"""Attributes of offers as inputs of a model."""

from typing import Any

import numpy as np
import pytest

from bandits.errors import PolicyParameterError
from bandits.onnx.offer_features import OfferTable, parse_offer_features, parse_offers

OFFERS = {"7": {"brand": "y", "margin": 2.5}, "12": {"brand": "x"}}


def table(*items: dict[str, Any]) -> OfferTable:
    """The table of two offers."""
    return OfferTable(parse_offer_features(list(items)), parse_offers(OFFERS))


def test_numbers_values_and_texts() -> None:
    found = table(
        {"name": "margin", "default": 1},
        {"name": "which", "attribute": "brand", "values": ["x", "y"]},
        {"name": "brand", "text": True},
    )
    rows = found.rows(np.array([12, 7, 9], dtype=np.uint32))
    assert found.unknown(rows).tolist() == [False, False, True]
    assert found.columns("margin")[rows].tolist() == [[1.0], [2.5], [1.0]]
    assert found.columns("which")[rows].tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    assert found.columns("brand")[rows].tolist() == [["x"], ["y"], [""]]


def test_without_features_of_offers_every_offer_is_known() -> None:
    found = table()
    assert not found.unknown(found.rows(np.array([1, 2**31], dtype=np.uint32))).any()


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ("margin", "[0]"),
        ({"name": "no name"}, "[0].name"),
        ({"name": "m", "attribute": ""}, "[0].attribute"),
        ({"name": "m", "values": [[]]}, "[0].values"),
        ({"name": "m", "default": "x"}, "[0].default"),
        ({"name": "m", "text": 1}, "[0].text"),
        ({"name": "m", "text": True, "default": 1}, "[0]"),
        ({"name": "m", "buckets": 4}, "[0].buckets"),
    ],
)
def test_mistakes_name_their_field(item: Any, field: str) -> None:
    with pytest.raises(PolicyParameterError) as refused:
        parse_offer_features([item])
    assert refused.value.field == f"parameters.offer_features{field}"


@pytest.mark.parametrize("offers", [[], {"x": {}}, {"07": {}}, {"7": 1}, {str(2**32): {}}])
def test_offers_are_attributes_by_number(offers: Any) -> None:
    with pytest.raises(PolicyParameterError, match="offers maps"):
        parse_offers(offers)

"""Model files with their features: what is given to a model, and what is refused with which reason."""

from typing import Any

import numpy as np
import pytest

from bandits.errors import PolicyParameterError
from bandits.features import Feature
from bandits.onnx.propensity_model import PropensityModel
from tests.support.onnx_models import (
    logistic_file,
    one_node_file,
    text_file,
    text_of,
    two_column_file,
)

AGE = Feature("age", "numeric", "customer.age", default=40.0)
REASON = Feature("reason", "category", "context.reason", values=("buy", "leave"))
MART = Feature("mart", "propensity")
NUMBERS = np.array([3, 7], dtype=np.uint32)
NONE = np.full(2, np.nan, dtype=np.float32)


def model(data: bytes, features: tuple[Feature, ...] = (AGE, REASON), **parameters: Any) -> PropensityModel:
    """A model of a file."""
    return PropensityModel({"model": text_of(data), **parameters}, features)


def chances(
    found: PropensityModel, facts: dict[str, Any], base: Any = NONE, numbers: Any = NUMBERS
) -> list[float]:
    """What it says of two offers."""
    return [round(value, 4) for value in found.propensities(facts, numbers, np.asarray(base, np.float32))]


def logistic(s: float) -> float:
    return round(float(1 / (1 + np.exp(-s))), 4)


def test_facts_are_passed_on_in_their_units_and_values_as_columns() -> None:
    found = model(logistic_file([0.1, 1.0, -1.0], -4.0))
    assert chances(found, {"customer.age": 30, "context.reason": "buy"}) == [logistic(0.1 * 30 + 1 - 4)] * 2
    assert chances(found, {"customer.age": 30, "context.reason": "leave"}) == [logistic(3 - 1 - 4)] * 2
    # What is missing: the default, and no column.
    assert chances(found, {"context.reason": "else"}) == [logistic(4 - 4)] * 2
    assert found.encoder.paths == {"customer.age", "context.reason"}


def test_a_range_holds_what_anybody_sends() -> None:
    held = Feature("age", "numeric", "customer.age", low=18.0, high=90.0, default=40.0)
    found = model(logistic_file([0.1]), (held,))
    assert chances(found, {"customer.age": 1e9}) == [logistic(9)] * 2


def test_the_propensity_and_attributes_of_offers_differ_between_candidates() -> None:
    offers = {"3": {"offer_id": "gold", "margin": 2.0}, "7": {"offer_id": "silver"}}
    features = [
        {"name": "margin", "attribute": "margin", "default": 0.5},
        {"name": "which", "attribute": "offer_id", "values": ["gold", "silver"]},
    ]
    found = model(logistic_file([1.0, 1.0, 0.25, -0.25]), (MART,), offer_features=features, offers=offers)
    assert chances(found, {}, [0.5, 0.0]) == [logistic(0.5 + 2 + 0.25), logistic(0.5 - 0.25)]
    # An offer that the version does not know has its own propensity, or the default.
    unknown = np.array([3, 9], dtype=np.uint32)
    assert chances(found, {}, [0.5, 0.125], unknown)[1] == 0.125
    assert chances(found, {}, NONE, unknown)[1] == 0.05


def test_a_number_that_is_missing_without_a_default_gives_the_precomputed_propensity() -> None:
    found = model(logistic_file([0.1]), (Feature("age", "numeric", "customer.age"),))
    assert chances(found, {}, [0.25, np.nan]) == [0.25, 0.05]


def test_columns_by_name_and_texts_as_a_pipeline_takes_them() -> None:
    reason = Feature("reason", "category", "context.reason", values=("buy", "leave"))
    found = model(text_file(), (AGE, reason))
    assert chances(found, {"context.reason": "buy"}) == [0.9, 0.9]
    assert chances(found, {"context.reason": "other"}) == [0.1, 0.1]


def test_the_second_class_of_a_classifier_is_the_propensity() -> None:
    assert chances(model(two_column_file(3)), {}) == [0.25, 0.25]
    assert chances(model(two_column_file(3), column=0), {}) == [0.75, 0.75]


def test_log_odds_become_chances() -> None:
    found = model(logistic_file([0.1], log_odds=True), (AGE,), scale="log_odds")
    assert chances(found, {"customer.age": 20}) == [logistic(2)] * 2


def test_one_offer_has_the_propensity_that_it_has_among_others() -> None:
    found = model(logistic_file([0.1, 1.0, -1.0, 2.0]), (AGE, REASON, MART))
    facts = {"customer.age": 31, "context.reason": "leave"}
    numbers = np.arange(1, 200, dtype=np.uint32)
    base = np.linspace(0.01, 0.9, 199, dtype=np.float32)
    together = found.propensities(facts, numbers, base)
    alone = [found.propensity(facts, int(n), float(q)) for n, q in zip(numbers, base, strict=True)]
    assert together.astype(np.float32).tolist() == alone


@pytest.mark.parametrize(
    ("data", "features", "parameters", "field", "said"),
    [
        (
            logistic_file([1.0]),
            (AGE, REASON),
            {},
            "inputs",
            "'X' has 1 columns, and its features make 3: age, reason",
        ),
        (logistic_file([1.0]), (), {}, "inputs", "none is declared"),
        (logistic_file([1.0]), (AGE,), {"inputs": {"x": ["age"]}}, "inputs.x", "no input 'x'; it has X"),
        (logistic_file([1.0]), (AGE,), {"inputs": {"X": ["agee"]}}, "inputs.X", "did you mean 'age'?"),
        (
            logistic_file([1.0]),
            (AGE, MART),
            {"inputs": {"X": ["age"]}},
            "inputs",
            "'mart' goes into no input",
        ),
        (text_file(), (AGE,), {}, "inputs.reason", "feature 'reason', which is not declared"),
        (text_file(), (AGE, Feature("reason", "numeric", "context.r")), {}, "features", "takes texts"),
        (logistic_file([1.0] * 2, log_odds=True), (AGE, MART), {}, "scale", "say scale: log_odds"),
        (two_column_file(1), (AGE,), {"output": "label"}, "output", "not a tensor of float or double"),
        (two_column_file(1), (AGE,), {"output": "p"}, "output", "the model has label"),
        (two_column_file(1), (AGE,), {"column": 2}, "column", "2 columns, from 0"),
        (one_node_file("Softmax", 1, axis=0), (MART,), {}, "model", "depends on the other rows"),
        (
            one_node_file("RandomUniformLike"),
            (AGE,),
            {},
            "model",
            "RandomUniformLike: random numbers are refused",
        ),
        (b"no model", (AGE,), {}, "model", "no model that can be run"),
        (logistic_file([1.0]), (AGE,), {"sha256": "00"}, "sha256", "SHA-256 is"),
        (
            logistic_file([1.0]),
            (Feature("hour", "time_of_day"),),
            {},
            "features[0].kind",
            "numeric, category, interests, propensity",
        ),
        (logistic_file([1.0]), (Feature("age", "numeric"),), {}, "features[0].path", "needs the path"),
        (
            logistic_file([1.0]),
            (AGE,),
            {"offer_features": [{"name": "m", "atribute": "m"}]},
            "offer_features[0]",
            "no",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    data: bytes, features: tuple[Feature, ...], parameters: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(PolicyParameterError) as refused:
        model(data, features, **parameters)
    assert said in str(refused.value)
    assert (refused.value.field or "").removeprefix("parameters.").startswith(field)

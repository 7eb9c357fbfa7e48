"""The inputs of a model: in its own order, types and units."""

import numpy as np
import pytest

from bandits.errors import PolicyParameterError
from bandits.features import Feature
from bandits.onnx.model_file import load_model
from bandits.onnx.model_inputs import ModelInputs
from bandits.onnx.offer_features import OfferTable, parse_offer_features
from tests.support.onnx_models import logistic_file, one_node_file, text_file

AGE = Feature("age", "numeric", "customer.age", low=18.0, high=90.0)
LIKES = Feature("likes", "interests", "customer.interests", topics=("sport", "travel"))
REASON = Feature("reason", "category", "context.reason", values=("buy", "leave"))
OFFERS = np.array([5, 6], dtype=np.uint32)
BASE = np.array([0.5, np.nan], dtype=np.float32)
NO_OFFERS = OfferTable((), {})


def test_columns_come_in_the_order_that_is_said() -> None:
    model = load_model(logistic_file([0.0] * 6))
    features = (AGE, LIKES, REASON, Feature("mart", "propensity"))
    inputs = ModelInputs(model, features, (), NO_OFFERS, {"X": ["mart", "reason", "age", "likes"]})
    facts = {"customer.age": 99, "context.reason": ["leave", "buy"], "customer.interests": {"travel": 0.5}}
    found = inputs.tensors(facts, OFFERS, BASE)["X"]
    assert found.dtype == np.float32
    assert found[0].tolist() == [0.5, 1.0, 1.0, 90.0, 0.0, 0.5]
    assert np.isnan(found[1, 0])
    assert found[1, 1:].tolist() == found[0, 1:].tolist()


def test_each_input_takes_the_feature_of_its_name() -> None:
    inputs = ModelInputs(load_model(text_file()), (AGE, REASON), (), NO_OFFERS, None)
    found = inputs.tensors({"customer.age": 20, "context.reason": "buy"}, OFFERS, BASE)
    assert found["reason"].tolist() == [["buy"], ["buy"]]
    assert found["age"].tolist() == [[20.0], [20.0]]
    missing = inputs.tensors({}, OFFERS, BASE)
    assert missing["reason"].tolist() == [[""], [""]]
    assert np.isnan(missing["age"]).all()


def test_offers_numbers_cannot_be_given_as_texts() -> None:
    features = parse_offer_features([{"name": "reason", "attribute": "margin"}])
    with pytest.raises(PolicyParameterError, match="takes texts, and the offer feature 'reason' is none"):
        ModelInputs(load_model(text_file()), (AGE,), features, OfferTable(features, {}), None)


def test_hashed_values_are_for_other_models() -> None:
    hashed = Feature("reason", "category", "context.reason", buckets=8)
    with pytest.raises(PolicyParameterError, match="list the values instead"):
        ModelInputs(load_model(one_node_file("Sigmoid", 8)), (hashed,), (), NO_OFFERS, None)


def test_two_features_of_one_name_are_refused() -> None:
    with pytest.raises(PolicyParameterError, match="two features are called 'age'"):
        ModelInputs(load_model(one_node_file("Sigmoid", 2)), (AGE, AGE), (), NO_OFFERS, None)

"""The dictionary that a river model is given of a candidate."""

import pytest

from bandits.errors import PolicyParameterError
from bandits.features import Feature
from bandits.river.model_inputs import ModelInputs

FEATURES = (
    Feature("age", "numeric", "customer.age", low=0.0, high=100.0),
    Feature("region", "category", "customer.region", values=("north", "south")),
    Feature("device", "category", "context.device", buckets=4),
    Feature("topics", "interests", "customer.topics", topics=("music", "sports")),
)


def test_inputs_are_the_same_from_the_log() -> None:
    inputs = ModelInputs(FEATURES, "both")
    as_sent = {
        "customer.age": -0.0,
        "customer.region": "east",
        "context.device": 5,
        "customer.topics": {"music": 1},
    }
    as_logged = {
        "customer.topics": {"music": 1.0},
        "context.device": 5.0,
        "customer.region": "east",
        "customer.age": 0,
    }
    x = inputs.encoder.encode(as_sent, 0)
    first, second = inputs.request(as_sent, x), inputs.request(as_logged, x)
    assert repr(first) == repr(second)
    assert {k: first[k] for k in ("age", "region", "device", "topics.music")} == {
        "age": 0.0,
        "region": "(other)",
        "device": "5",
        "topics.music": 1.0,
    }
    assert {key for key in first if not key.startswith("x.")} == {"age", "region", "device", "topics.music"}


def test_features_must_not_be_called_like_what_is_given_anyway() -> None:
    with pytest.raises(PolicyParameterError, match="'offer'") as refused:
        ModelInputs((FEATURES[0], Feature("offer", "numeric", "customer.offer")), "facts")
    assert refused.value.field == "features[1].name"


def test_a_candidate_has_its_number_as_text_and_its_propensity_where_there_is_one() -> None:
    assert ModelInputs.candidate({"age": 1.0}, 7, 0.25) == {"age": 1.0, "offer": "7", "propensity": 0.25}
    assert ModelInputs.candidate({"age": 1.0}, 7, float("nan")) == {"age": 1.0, "offer": "7"}

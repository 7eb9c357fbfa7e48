"""River models of many kinds, and a stream to teach them."""

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from river import (
    compose,
    drift,
    ensemble,
    facto,
    forest,
    linear_model,
    naive_bayes,
    optim,
    preprocessing,
    tree,
)

from bandits.river.allowed_names import AllowedNames
from bandits.river.model_codec import pack_model
from bandits.river.model_reader import unpack_model

NAMES = AllowedNames()
RIVER = version("river")


def _numbers() -> Any:
    return compose.SelectType(float) | preprocessing.StandardScaler()


def _texts(**options: Any) -> Any:
    return compose.SelectType(str) | preprocessing.OneHotEncoder(**options)


def _untyped(made: Callable[..., Any]) -> Any:
    return made()


def _tree() -> Any:
    return tree.HoeffdingTreeClassifier(grace_period=20)


CLASSIFIERS: Mapping[str, Callable[[], Any]] = {
    "logistic": lambda: _numbers() | linear_model.LogisticRegression(),
    "alma": lambda: _numbers() | _untyped(linear_model.ALMAClassifier),
    "passive_aggressive": lambda: _numbers() | _untyped(linear_model.PAClassifier),
    "hoeffding": _tree,
    "adaptive_hoeffding": lambda: tree.HoeffdingAdaptiveTreeClassifier(grace_period=20, seed=1),
    "adaptive_forest": lambda: forest.ARFClassifier(n_models=2, seed=1, drift_detector=_untyped(drift.ADWIN)),
    "mondrian_forest": lambda: compose.SelectType(float) | forest.AMFClassifier(n_estimators=2, seed=1),
    "adaboost": lambda: ensemble.AdaBoostClassifier(_tree(), n_models=3, seed=1),
    "bagging": lambda: ensemble.ADWINBaggingClassifier(_tree(), n_models=2, seed=1),
    "union": lambda: _texts() + _numbers() | linear_model.LogisticRegression(optim.Adam()),
    "one_hot_lasso": lambda: _texts(drop_zeros=True) | linear_model.LogisticRegression(l1=0.01),
    "hashing": lambda: preprocessing.FeatureHasher(n_features=32, seed=1) | linear_model.LogisticRegression(),
    "naive_bayes": lambda: compose.SelectType(float) | _untyped(naive_bayes.GaussianNB),
    "factorisation": lambda: _texts() | facto.FMClassifier(seed=1),
    "voting": lambda: ensemble.VotingClassifier([_texts() | linear_model.LogisticRegression(), _tree()]),
}
REGRESSORS: Mapping[str, Callable[[], Any]] = {
    "linear": lambda: _numbers() | linear_model.LinearRegression(),
    "bayesian": lambda: _numbers() | linear_model.BayesianLinearRegression(),
    "hoeffding_regressor": lambda: compose.SelectType(float) | tree.HoeffdingTreeRegressor(grace_period=20),
    "forest_regressor": lambda: forest.ARFRegressor(n_models=2, seed=1, leaf_prediction="mean"),
}


def stream(count: int, seed: int = 1) -> Iterator[tuple[dict[str, Any], bool]]:
    """Made-up candidates with text and numbers, and whether they were accepted."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        x: dict[str, Any] = {
            "age": float(rng.normal()),
            "visits": float(rng.integers(4)),
            "offer": str(rng.integers(6)),
        }
        yield x, bool(rng.random() < 1.0 / (1.0 + np.exp(-x["age"])))


def stored(model: Any) -> bytes:
    """The stored form."""
    return pack_model(model, NAMES, RIVER)


def read(blob: bytes) -> Any:
    """The model of a stored form."""
    return unpack_model(blob, NAMES, RIVER)

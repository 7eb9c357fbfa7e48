"""The river pipelines that come with nextbest, as examples of factories and as a start.

A factory is a function that returns a new, untrained river model: a classifier of acceptance (it is taught ``True`` and
``False``), or a regressor of the reward. It is given the policy's ``arguments`` by name. The model's input for
a candidate is a flat dictionary (``river.model_inputs``): numbers as ``float``, all else as ``str``, among them
``offer`` (its number, as text) and ``propensity`` (the precomputed one, where there is one).
"""

from math import log
from typing import Any

from river import base, compose, forest, linear_model, optim, preprocessing, tree

_TINY = 1e-6


class LogOdds(base.Transformer):
    """Replaces ``propensity`` by its log odds, the scale on which linear models can use it."""

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        """Return the inputs with ``propensity`` as log odds."""
        propensity = x.get("propensity")
        if propensity is None:
            return x
        p = min(max(propensity, _TINY), 1.0 - _TINY)  # 0 and 1 have no finite log odds
        return x | {"propensity": log(p / (1.0 - p))}


class OfferInteractions(base.Transformer):
    """Gives each offer its own weight for every input, beside one that all offers share.

    Text becomes indicators; numbers stay. Nothing is remembered, so it is the same in every process.
    """

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        """Return numbers and indicators, each once for all offers and once for this offer."""
        offer = x["offer"]
        shared = {
            key if isinstance(value, float) else f"{key}={value}": value if isinstance(value, float) else 1.0
            for key, value in x.items()
        }
        # The offer's indicator with itself would be the same column a second time.
        return shared | {f"{key}|{offer}": value for key, value in shared.items() if key != f"offer={offer}"}


def _prepared() -> Any:
    numbers = compose.SelectType(float) | LogOdds() | preprocessing.StandardScaler()
    return compose.TransformerUnion(numbers, compose.SelectType(str)) | OfferInteractions()


def logistic(learning_rate: float = 0.1, l2: float = 0.0) -> Any:
    """Logistic regression by stochastic gradients on scaled numbers and indicators, with offer interactions."""
    return _prepared() | linear_model.LogisticRegression(optimizer=optim.AdaGrad(learning_rate), l2=l2)


def linear(learning_rate: float = 0.1, l2: float = 0.0) -> Any:
    """Linear regression on the same, to learn from value."""
    return _prepared() | linear_model.LinearRegression(optimizer=optim.AdaGrad(learning_rate), l2=l2)


def hoeffding_tree(grace_period: int = 100, max_depth: int = 12) -> Any:
    """One tree that grows as evidence comes in, with naive Bayes in its leaves where that is better."""
    return tree.HoeffdingTreeClassifier(grace_period=grace_period, max_depth=max_depth)


def hoeffding_tree_regressor(grace_period: int = 100, max_depth: int = 12) -> Any:
    """The same for rewards that are not just yes or no."""
    return tree.HoeffdingTreeRegressor(grace_period=grace_period, max_depth=max_depth, leaf_prediction="mean")


def adaptive_random_forest(n_models: int = 5, max_depth: int = 10, seed: int = 1) -> Any:
    """A small forest whose trees are replaced when they drift."""
    return forest.ARFClassifier(n_models=n_models, max_depth=max_depth, leaf_prediction="mc", seed=seed)

"""``onnx``: a model of one's own, from an ONNX file, which nextbest runs and never teaches."""

from typing import Any

from bandits.algorithms.static_policy import StaticPolicy
from bandits.onnx.propensity_model import PARAMETERS, PropensityModel
from bandits.parameters import in_range, known_parameters, one_of
from bandits.policy import Candidates, Distribution, FloatArray, PolicySpec
from bandits.sampling import best_score, inverse_gaps

EXPLORATION_KINDS = ("epsilon_greedy", "inverse_gap")
ALL_PARAMETERS = (*PARAMETERS, "explore", "gamma", "epsilon")
"""Those of a model file, and of exploring."""


class OnnxPolicy(StaticPolicy):
    """Takes what a model file says of each candidate as its propensity. It explores, and learns nothing.

    Exploration is that of ``river``: ``epsilon_greedy`` takes the best score (propensity x weight), ``inverse_gap``
    weighs by inverse gaps (``sampling.inverse_gaps``); both are mixed with the floor.

    Parameters
    ----------
    model : str
        The file, as base64. Required.
    sha256 : str
        Its SHA-256 in hexadecimal; checked whenever the policy is made.
    inputs : mapping
        The names of features, in order, for each input of the model. Default: all, for its only input; else to each
        input the feature of its name.
    offer_features : list
        Attributes of offers that are inputs too.
    offers : mapping
        Their values for each offer, by number; filled in when the version is registered.
    output : str
        The output with the propensity. Default: ``probabilities``, or the only one of numbers.
    column : int
        Its column, from 0. Default: the last of one or two.
    scale : "probability" or "log_odds"
        What the output is. Default probability.
    default_propensity : float
        What is expected where the model says nothing, and no propensity was precomputed. Default 0.05.
    explore : "epsilon_greedy" or "inverse_gap"
        Default epsilon_greedy.
    gamma : float
        How strongly ``inverse_gap`` prefers the best. Default 100.
    epsilon : float
        The share of choices spread evenly over all candidates. Default 0.05.
    """

    algorithm = "onnx"
    has_model = True

    def __init__(self, spec: PolicySpec) -> None:
        given = dict(spec.parameters)
        known_parameters(self.algorithm, given, ALL_PARAMETERS)
        self.name = spec.name
        self.version = spec.version
        self.epsilon = in_range("epsilon", given.pop("epsilon", 0.05), 1e-4, 1.0)
        self.gamma = in_range("gamma", given.pop("gamma", 100.0), 0.0, 1e9)
        self.explore = one_of("explore", given.pop("explore", "epsilon_greedy"), EXPLORATION_KINDS)
        self.model = PropensityModel(given, spec.features)
        self.encoder = self.model.encoder
        self._latest: tuple[Candidates, FloatArray] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the last estimates, which are a cache and no state of the policy."""
        return {**self.__dict__, "_latest": None}

    def propensities(self, prepared: None, candidates: Candidates) -> FloatArray:
        """Run the model for all candidates in one call."""
        latest = self._latest
        # A decision asks for propensities, then for a choice. By identity: equal candidates are another decision's.
        if latest is None or latest[0] is not candidates:
            found = self.model.propensities(candidates.facts, candidates.offers, candidates.base_propensity)
            latest = self._latest = candidates, found
        return latest[1].copy()

    def selector(self, prepared: None, candidates: Candidates) -> Distribution:
        """Return the exploration over ``propensity x weight``."""
        scores = self.propensities(prepared, candidates) * candidates.weight
        if self.explore == "inverse_gap":
            return inverse_gaps(scores, self.gamma, self.epsilon)
        return best_score(scores, self.epsilon)

"""``river``: any river pipeline, named by an importable factory.

Montiel and others, *River: machine learning for streaming data in Python*, JMLR 22 (2021).

Nothing uploaded is executed. A specification only names a factory, and only factories that the operator has installed
(entry points in the group ``nextbest.river``), allowed by configuration, or that came with nextbest are called.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points, version
from inspect import signature
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.errors import PolicyParameterError
from bandits.parameters import in_range, known_parameters, one_of
from bandits.policy import Candidates, Distribution, FloatArray, ForwardDecay, Observation, PolicySpec, Sums
from bandits.river.allowed_names import AllowedNames, is_within
from bandits.river.model_inputs import INPUT_KINDS, ModelInputs
from bandits.river.pipeline_check import check_pipeline
from bandits.sampling import best_score, inverse_gaps
from bandits.sequential_policy import LearnedModel

BUILT_IN_MODULE = "bandits.river_factories"
GROUP = "nextbest.river"
EXPLORATION_KINDS = ("epsilon_greedy", "inverse_gap")

_allowed_modules: tuple[str, ...] = ()
_checked_pipelines: set[tuple[Callable[..., Any], str]] = set()
"""The pipelines that have been tried out in this process: policies are made anew more often than that is needed."""


def allow_factories(modules: Iterable[str]) -> None:
    """Set the modules (with all inside of them) that factories may come from, beside those installed for it.

    Part of starting a process: what its operator has configured. Replaces what was said before.
    """
    global _allowed_modules
    _allowed_modules = tuple(modules)


def find_factory(name: Any) -> Callable[..., Any]:
    """Find a factory by name: an entry point of the group ``nextbest.river``, or an allowed ``module:function``.

    Raises ``PolicyParameterError`` if it is not allowed, or is not there.
    """
    if not isinstance(name, str):
        raise _factory_error(f"factory must be the name of one, not {name!r}")
    installed = {point.name: point.value for point in entry_points(group=GROUP)}
    target = installed.get(name, name)
    module, _, function = target.partition(":")
    if target not in installed.values() and not is_within(module, (BUILT_IN_MODULE, *_allowed_modules)):
        have = ", ".join([*sorted(installed), f"{BUILT_IN_MODULE}:logistic"])
        raise _factory_error(
            f"factory {name!r} is not allowed here: install it with an entry point in the group {GROUP!r}, or name its"
            f" module in NEXTBEST_RIVER_FACTORIES; there are: {have}"
        )
    try:
        found: Any = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise _factory_error(f"factory {name!r} cannot be imported: {error}") from error
    if not isinstance(found, FunctionType) or function.startswith("_"):
        raise _factory_error(f"factory {name!r} is not a public function")
    return found


def _factory_error(message: str) -> PolicyParameterError:
    return PolicyParameterError(message, "parameters.factory")


@dataclass(slots=True)
class PreparedModel:
    """A model ready to choose with, and its last estimates: a distribution is asked for after the estimates."""

    model: Any
    last: tuple[Candidates, FloatArray] | None = field(default=None, repr=False, compare=False)


PARAMETERS = ("factory", "arguments", "inputs", "explore", "gamma", "epsilon", "default_propensity")


class RiverPolicy:
    r"""One river model for all offers, which estimates each candidate.

    ``model_inputs`` makes the model's input for a candidate. A classifier estimates the chance of acceptance, and is
    taught whether the reward was at least one half; a regressor estimates the reward itself. The estimate is the
    propensity.

    Exploration: ``epsilon_greedy`` takes the best score (estimate x weight); ``inverse_gap`` gives each candidate
    ``1 / (K + gamma (1 - s / s_best))`` and the rest to the best (see ``sampling.inverse_gaps``). Both are mixed with
    the floor, and both are the exact distribution that is drawn from.

    Parameters
    ----------
    factory : str
        The name of an entry point, or ``module:function``. Required.
    arguments : mapping
        What the factory is called with, by name. Default none.
    inputs : "facts", "features" or "both"
        Whether the model sees raw facts, the columns of the encoded features under their names, or both. Default facts.
    explore : "epsilon_greedy" or "inverse_gap"
        Default epsilon_greedy.
    gamma : float
        How strongly ``inverse_gap`` prefers the best. Default 100.
    epsilon : float
        The share of choices spread evenly over all candidates. Default 0.05.
    default_propensity : float
        What is expected of an offer while the model says nothing and no propensity was precomputed. Default 0.05.
    """

    sequential = True
    width = 0
    shared = False
    decay = ForwardDecay(None)

    def __init__(self, spec: PolicySpec) -> None:
        p = spec.parameters
        known_parameters("river", p, PARAMETERS)
        if "factory" not in p:
            raise _factory_error("river needs the parameter 'factory': the name of what makes the pipeline")
        self.name = spec.name
        self.version = spec.version
        self.epsilon = in_range("epsilon", p.get("epsilon", 0.05), 1e-4, 1.0)
        self.gamma = in_range("gamma", p.get("gamma", 100.0), 0.0, 1e9)
        self.default = in_range("default_propensity", p.get("default_propensity", 0.05), 1e-4, 0.9999)
        self.explore = one_of("explore", p.get("explore", "epsilon_greedy"), EXPLORATION_KINDS)
        self.inputs = ModelInputs(spec.features, one_of("inputs", p.get("inputs", "facts"), INPUT_KINDS))
        self.encoder = self.inputs.encoder
        arguments = p.get("arguments", {})
        if not isinstance(arguments, Mapping):
            message = f"arguments must be a mapping of names to values, not {arguments!r}"
            raise PolicyParameterError(message, "parameters.arguments")
        self.arguments = dict(arguments)
        self.factory = str(p["factory"])
        self._factory = find_factory(p["factory"])
        if spec.learn_from == "earned":
            raise PolicyParameterError(
                "what was earned is revised when a later outcome comes, and a pipeline cannot take back what it was"
                " taught; learn from acceptance, or take another algorithm",
                "learn_from",
            )
        self._names = AllowedNames((*_allowed_modules, BUILT_IN_MODULE, self._factory.__module__))
        self._classifies = _is_classifier(self.fresh(), spec.learn_from)
        self.weighs = spec.learn_from == "acceptance" and _takes_weights(self.fresh())
        described = repr((sorted(self.arguments.items()), self.inputs.described, self._classifies))
        tried = (self._factory, described)
        if tried not in _checked_pipelines:
            check_pipeline(self, self.factory)
            _checked_pipelines.add(tried)

    @cached_property
    def _river(self) -> str:
        return version("river")

    def fresh(self) -> Any:
        """Call the factory."""
        try:
            return self._factory(**self.arguments)
        except Exception as error:
            raise PolicyParameterError(
                f"factory {self.factory!r} with these arguments raised {error!r}", "parameters.arguments"
            ) from error

    def learn(self, observation: Observation) -> FloatArray:
        """Add nothing to sums: ``observe`` teaches the model."""
        return np.zeros(0)

    def observe(self, model: Any, observation: Observation, at_s: float) -> None:
        """Call ``learn_one`` with the inputs that the model would have had for the offer.

        Silence that may still end in an acceptance has the weight ``1 - p``, by the model's estimate ``p``. With the
        acceptances that follow, at weight 1, the expected gradient is that of the closed window: zero where ``p`` is
        the truth (the weighting of fake negatives by Ktena et al., *Addressing Delayed Feedback for Continuous Training
        with Neural Networks in CTR Prediction*, RecSys 2019, for one impression).
        """
        seen = self.inputs.request(observation.facts, observation.x)
        base_propensity = float(observation.base_propensity)
        x = self.inputs.candidate(seen, observation.offer, base_propensity)
        reward = observation.reward >= 0.5 if self._classifies else float(observation.reward)
        if observation.provisional:
            estimate = min(max(self._estimate(model, x, base_propensity), 0.0), 1.0)
            model.learn_one(x, reward, w=1.0 - estimate)
        else:
            model.learn_one(x, reward)

    def pack(self, model: Any) -> bytes:
        """Encode a model; see ``model_codec``."""
        from bandits.river.model_codec import pack_model

        return pack_model(model, self._names, self._river)

    def unpack(self, blob: bytes) -> Any:
        """Decode a model; see ``model_reader``."""
        from bandits.river.model_reader import unpack_model

        return unpack_model(blob, self._names, self._river)

    def prepare(self, sums: Sums) -> PreparedModel:
        """Wrap the model."""
        return PreparedModel(sums.model if isinstance(sums, LearnedModel) else self.fresh())

    def refresh(self, prepared: PreparedModel, sums: Sums, rows: NDArray[np.intp]) -> PreparedModel:
        """Wrap the present model."""
        return self.prepare(sums)

    def propensities(self, prepared: PreparedModel, candidates: Candidates) -> FloatArray:
        """Return the model's estimate for each candidate, one after the other; clipped to [0, 1]."""
        # Models are slow, and a decision asks twice: for propensities, then by ``selector``.
        if prepared.last is not None and prepared.last[0] is candidates:
            return prepared.last[1].copy()
        seen = self.inputs.request(candidates.facts, candidates.x)
        estimates = np.empty(len(candidates))
        pairs = zip(candidates.offers.tolist(), candidates.base_propensity.tolist(), strict=True)
        for row, (offer, base_propensity) in enumerate(pairs):
            x = self.inputs.candidate(seen, offer, base_propensity)
            estimates[row] = self._estimate(prepared.model, x, base_propensity)
        prepared.last = candidates, np.clip(estimates, 0.0, 1.0)
        return prepared.last[1].copy()

    def selector(self, prepared: PreparedModel, candidates: Candidates) -> Distribution:
        """Return the exploration over ``estimate x weight``."""
        scores = self.propensities(prepared, candidates) * candidates.weight
        if self.explore == "inverse_gap":
            return inverse_gaps(scores, self.gamma, self.epsilon)
        return best_score(scores, self.epsilon)

    def _estimate(self, model: Any, x: dict[str, Any], base_propensity: float) -> float:
        # NaN differs from itself, and stands for a propensity that was not precomputed or an estimate that failed.
        if not self._classifies:
            estimate = float(model.predict_one(x))
        else:
            chances = model.predict_proba_one(x)
            estimate = float(chances.get(True, 0.0)) if chances else base_propensity
        return estimate if estimate == estimate else self.default


def _takes_weights(model: Any) -> bool:
    """Return whether the model at the end of a pipeline learns observations of less than full weight."""
    while hasattr(model, "steps"):
        model = list(model.steps.values())[-1]
    return "w" in signature(model.learn_one).parameters


def _is_classifier(model: Any, learn_from: str) -> bool:
    """Return whether a model is a classifier. Raises ``PolicyParameterError`` if it is no regressor either."""
    base: Any = import_module("river.base")
    last = model
    while not isinstance(last, base.Classifier | base.Regressor):
        if not hasattr(last, "steps") and not hasattr(last, "_wrapped_model"):
            raise _factory_error(
                f"the factory gives {type(model).__qualname__}; it must be a river classifier or regressor, or a"
                " pipeline that ends in one"
            )
        last = list(last.steps.values())[-1] if hasattr(last, "steps") else last._wrapped_model
    if isinstance(last, base.Regressor):
        return False
    if learn_from == "value":
        raise PolicyParameterError(
            "learning from value takes a regressor, and the factory gives a classifier", "learn_from"
        )
    return True

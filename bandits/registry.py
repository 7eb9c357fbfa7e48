"""The algorithms by name, and the built-in policies of every installation."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from bandits import plugins
from bandits.algorithms.apprentice import ApprenticePolicy
from bandits.algorithms.calibrated import CalibratedPolicy
from bandits.algorithms.epsilon_greedy import EpsilonGreedyPolicy
from bandits.algorithms.lin_ucb import LinUCBPolicy
from bandits.algorithms.regression_thompson import LinearThompsonPolicy, LogisticThompsonPolicy
from bandits.algorithms.squarecb import SquareCBPolicy
from bandits.algorithms.static_policy import PropensityPolicy, RandomPolicy
from bandits.algorithms.thompson import ThompsonPolicy
from bandits.algorithms.ucb import UCBPolicy
from bandits.errors import BanditsError, PluginError, PolicyParameterError, UnknownPolicy, did_you_mean
from bandits.onnx.onnx_policy import OnnxPolicy
from bandits.onnx.propensity_source import attach_source
from bandits.policy import Policy, PolicySpec
from bandits.river.pipeline_policy import RiverPolicy

ALGORITHMS: Mapping[str, Callable[[PolicySpec], Policy]] = MappingProxyType(
    {
        "thompson": ThompsonPolicy,
        "ucb": UCBPolicy,
        "epsilon_greedy": EpsilonGreedyPolicy,
        "random": RandomPolicy,
        "propensity": PropensityPolicy,
        "calibrated": CalibratedPolicy,
        "apprentice": ApprenticePolicy,
        "linear_thompson": LinearThompsonPolicy,
        "lin_ucb": LinUCBPolicy,
        "logistic_thompson": LogisticThompsonPolicy,
        "squarecb": SquareCBPolicy,
        "river": RiverPolicy,
        "onnx": OnnxPolicy,
    }
)

BUILT_IN: tuple[PolicySpec, ...] = tuple(
    PolicySpec(name, 1, name) for name in ("thompson", "random", "propensity", "calibrated")
)


_ATTRIBUTES = ("name", "version", "width", "shared", "epsilon", "decay", "encoder")
_METHODS = ("learn", "prepare", "refresh", "propensities", "selector")


def list_algorithms() -> Mapping[str, str]:
    """Map the name of each algorithm to its origin; those of other packages are not imported."""
    return {**dict.fromkeys(ALGORITHMS, "nextbest"), **plugins.usable_plugins(ALGORITHMS)}


def build_policy(spec: PolicySpec) -> Policy:
    """Build the policy of a specification.

    Raises
    ------
    UnknownPolicy
        If there is no such algorithm.
    PluginError, PolicyParameterError
        As ``build_plugin_policy``; also if an installed package cannot be imported.
    """
    # Built-in names come first, so that no package can put itself in the place of an algorithm of nextbest.
    algorithm = ALGORITHMS.get(spec.algorithm)
    if algorithm is not None:
        return attach_source(algorithm(spec), spec)
    plugin = plugins.load_plugin(spec.algorithm, ALGORITHMS)
    if plugin is None:
        known = list_algorithms()
        raise UnknownPolicy(
            f"there is no algorithm {spec.algorithm!r}; there are: {', '.join(sorted(known))}"
            f"{did_you_mean(spec.algorithm, known)}"
        )
    return build_plugin_policy(plugin, spec)


def build_plugin_policy(algorithm: Callable[[PolicySpec], Any], spec: PolicySpec) -> Policy:
    """Build the policy of a specification with another package's ``algorithm``.

    Raises ``PolicyParameterError`` if it refuses the specification, however it does so, and ``PluginError`` if what
    it makes is no policy.
    """
    try:
        policy: Policy = algorithm(spec)
    except BanditsError:
        raise
    except Exception as error:
        raise PolicyParameterError(
            f"{spec.algorithm} cannot be made of this: {error!r}; its package may say why", "parameters"
        ) from error
    missing = [name for name in _ATTRIBUTES + _METHODS if not hasattr(policy, name)]
    if missing:
        raise PluginError(f"{spec.algorithm} is no policy: it has no {', '.join(missing)}")
    # Arms and log records are stored under this name: another one would mix two policies' arms.
    if (policy.name, policy.version) != (spec.name, spec.version):
        raise PluginError(f"{spec.algorithm} has to take name and version from its specification")
    return policy

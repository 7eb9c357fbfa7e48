"""The algorithms by name, and the policies that every installation has."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from bandits.calibrated import CalibratedPolicy
from bandits.epsilon_greedy import EpsilonGreedyPolicy
from bandits.errors import UnknownPolicy
from bandits.lin_ucb import LinUCBPolicy
from bandits.linear_thompson import LinearThompsonPolicy
from bandits.logistic_thompson import LogisticThompsonPolicy
from bandits.policy import Policy, PolicySpec
from bandits.propensity import PropensityPolicy
from bandits.random import RandomPolicy
from bandits.river_policy import RiverPolicy
from bandits.squarecb import SquareCBPolicy
from bandits.thompson import ThompsonPolicy
from bandits.ucb import UCBPolicy
from bandits.wording import did_you_mean

ALGORITHMS: Mapping[str, Callable[[PolicySpec], Policy]] = MappingProxyType(
    {
        "thompson": ThompsonPolicy,
        "ucb": UCBPolicy,
        "epsilon_greedy": EpsilonGreedyPolicy,
        "random": RandomPolicy,
        "propensity": PropensityPolicy,
        "calibrated": CalibratedPolicy,
        "linear_thompson": LinearThompsonPolicy,
        "lin_ucb": LinUCBPolicy,
        "logistic_thompson": LogisticThompsonPolicy,
        "squarecb": SquareCBPolicy,
        "river": RiverPolicy,
    }
)

BUILT_IN: tuple[PolicySpec, ...] = tuple(
    PolicySpec(name, 1, name) for name in ("thompson", "random", "propensity", "calibrated")
)


def build(spec: PolicySpec) -> Policy:
    """Make the policy of a specification.

    Raises
    ------
    UnknownPolicy
        If there is no such algorithm.
    PolicyParameterError
        If a parameter is unknown or out of range.
    """
    try:
        algorithm = ALGORITHMS[spec.algorithm]
    except KeyError:
        raise UnknownPolicy(
            f"there is no algorithm {spec.algorithm!r}; there are: {', '.join(sorted(ALGORITHMS))}"
            f"{did_you_mean(spec.algorithm, ALGORITHMS)}"
        ) from None
    return algorithm(spec)

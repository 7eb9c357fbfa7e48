"""A policy that breaks a law on purpose, to be found by its path."""

from bandits.algorithms.static_policy import RandomPolicy
from bandits.policy import PolicySpec

BROKEN = PolicySpec("broken", 1, "broken")


class Boundless(RandomPolicy):
    """Explores more than always."""

    epsilon = 1.5

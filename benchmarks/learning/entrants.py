"""The entrants, with their parameters."""

from importlib.util import find_spec
from typing import Any

import numpy as np

from bandits.auto_features import auto_features, feature_paths
from bandits.features import Feature
from bandits.policy import PolicySpec
from bandits.registry import ALGORITHMS
from benchmarks.learning import peers
from benchmarks.learning.arena import Oracle, Random
from benchmarks.learning.ours import Ours
from benchmarks.learning.rounds import Entrant, Player, Rounds
from decisioning.policies.known_facts import known_facts
from decisioning.rollout.defaults import DEFAULT_PARAMETERS

DEFAULT = "calibrated"
"""Our default where there are features; the other ones of ours are here to compare with."""

AS_INSTALLED = "calibrated, as installed"
"""The default where nobody declared features: those that ``features: auto`` chooses."""
NO_FEATURES = "calibrated, no features"
"""The default as it is built in: what features are worth, and what they cost where they tell nothing."""
SAMPLED = 1_000
"""Customers that it is chosen by, as from the customers' table."""

OURS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (DEFAULT, "calibrated", {}),
    (AS_INSTALLED, "calibrated", {}),
    (NO_FEATURES, "calibrated", {}),
    ("calibrated, half-life 1 day", "calibrated", {"half_life_days": 1.0}),
    ("logistic_thompson", "logistic_thompson", {}),
    ("linear_thompson", "linear_thompson", {}),
    ("lin_ucb", "lin_ucb", {}),
    ("squarecb", "squarecb", {}),
    ("ucb", "ucb", {}),
    ("epsilon_greedy", "epsilon_greedy", {}),
    ("thompson", "thompson", {}),
    ("propensity", "propensity", {}),
)
WITHOUT_FEATURES = {"thompson", "ucb", "epsilon_greedy", "propensity", "random"}
"""Algorithms that learn about offers, not about customers."""


def _ours(name: str, algorithm: str, parameters: dict[str, Any]) -> Entrant:
    def make(rounds: Rounds, seed: int, parameters: dict[str, Any] = parameters) -> Player:
        features = () if algorithm in WITHOUT_FEATURES or name == NO_FEATURES else rounds.features
        auto = name == AS_INSTALLED
        if auto:
            features = chosen_features(rounds, seed)
            parameters = {**DEFAULT_PARAMETERS, **parameters}
        if features and rounds.base_propensity is not None:
            features = (*features, Feature("propensity", "propensity"))
        return Ours(rounds, seed, PolicySpec("bench", 1, algorithm, parameters, features, auto=auto))

    def suits(rounds: Rounds) -> bool:
        if algorithm == "propensity":
            return rounds.base_propensity is not None
        return rounds.drifts or "half_life_days" not in parameters

    return Entrant(name, True, make, suits=suits)


def chosen_features(rounds: Rounds, seed: int) -> tuple[Feature, ...]:
    """Features of the default where nothing is declared: facts that keep coming in a sample of the customers."""
    count = min(SAMPLED, len(rounds))
    rows = np.random.default_rng([19, seed]).permutation(len(rounds))[:count].tolist()
    features = auto_features(known_facts((), [[rounds.facts[row] for row in rows]]))
    # Without facts the default stays as it is built in.
    return features if feature_paths(features) else ()


def _peer(name: str, package: str, make: Any, *parameters: Any) -> Entrant:
    return Entrant(name, False, lambda rounds, seed: make(rounds, seed, *parameters), needs=package)


PEERS = (
    _peer("VW squarecb", "vowpalwabbit", peers.VowpalWabbit, "--squarecb"),
    _peer(
        "VW regcbopt",
        "vowpalwabbit",
        peers.VowpalWabbit,
        "--regcbopt --cb_min_cost -1 --cb_max_cost 0",
    ),
    _peer("mabwiser LinUCB", "mabwiser", peers.Mabwiser, lambda lp: lp.LinUCB(alpha=0.3)),
    _peer("mabwiser LinTS", "mabwiser", peers.Mabwiser, lambda lp: lp.LinTS(alpha=0.3)),
    _peer(
        "contextualbandits LogisticTS",
        "contextualbandits",
        peers.ContextualBandits,
        lambda cb, n, seed: cb.LogisticTS(n, random_state=seed, njobs=1),
    ),
    _peer("river LinUCB", "river", peers.RiverLinUcb, 0.3),
    _peer("river logistic, greedy", "river", peers.RiverLogistic),
    _peer("gittins", "gittins", peers.Gittins),
)

REFERENCES = (
    Entrant("random", False, Random),
    Entrant("oracle", False, Oracle, suits=lambda rounds: rounds.logged is None),
)


POLICIES = tuple(
    [entrant.name for entrant in REFERENCES] + [name for name, *_ in OURS] + [peer.name for peer in PEERS]
)
"""All names, in the order of tables."""


def present(with_peers: bool = True) -> tuple[Entrant, ...]:
    """Those that can play on this machine: ours that the registry has, and peers that are installed."""
    ours = [_ours(*entry) for entry in OURS if entry[1] in ALGORITHMS]
    found = [peer for peer in PEERS if with_peers and peer.needs and find_spec(peer.needs)]
    return (*REFERENCES, *ours, *found)


def missing() -> tuple[str, ...]:
    """Packages of peers that are not installed."""
    return tuple(dict.fromkeys(peer.needs for peer in PEERS if peer.needs and not find_spec(peer.needs)))

"""The default policy learns from what is declared: when it needs a new version, and where that may decide. Pure.

Built in, ``calibrated@1`` knows no features: nobody knows beforehand what an installation will declare. Its next
versions have the features that ``bandits.auto_features`` chooses.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from bandits.auto_features import feature_paths
from bandits.features import Feature
from bandits.policy import PolicyKey, PolicySpec
from decisioning.model.deployment import Deployment, champion_of
from decisioning.model.entities import Placement

DEFAULT_NAME = "calibrated"
DEFAULT_PARAMETERS: Mapping[str, Any] = {
    "pool_evidence": True,
    "evidence_precision": 4.0,
    "group_shrinkage": 4.0,
}
"""Parameters of versions with features that are not the algorithm's own defaults, which older versions have."""
MAX_NAMED = 5
"""Paths that a reason names."""


def default_spec(features: tuple[Feature, ...], version: int = 2) -> PolicySpec:
    """Specify a version of the default with these features."""
    description = "the default, with features chosen of what is declared and of what keeps coming"
    return PolicySpec(
        DEFAULT_NAME,
        version,
        DEFAULT_NAME,
        dict(DEFAULT_PARAMETERS),
        features=features,
        description=description,
        auto=True,
    )


def new_version_reason(now: Iterable[Feature], chosen: Iterable[Feature]) -> str | None:
    """Say in words why the default needs a version with the ``chosen`` features; ``None`` if it does not.

    ``now``: the features of its newest version. Other ranges or values alone are no reason, since any range would do;
    a range where there was none, and values where they were hashed, are.
    """
    now, chosen = tuple(now), tuple(chosen)
    new = sorted(feature_paths(chosen) - feature_paths(now))
    if new:
        return f"it can learn from {_named(new)} as well"
    blind = feature_paths(feature for feature in now if _is_blind(feature))
    seeing = feature_paths(feature for feature in chosen if not _is_blind(feature))
    if known := sorted(blind & seeing):
        return f"the usual values of {_named(known)} are known by now"
    return None


def count_vocabularies(specs: Sequence[PolicySpec]) -> int:
    """Return how many of these versions, in their order, have other features than the one before."""
    return sum(before != after for before, after in pairwise([(), *(spec.features for spec in specs)]))


def uses_default(placement: Placement, deployment: Deployment) -> bool:
    """Return whether a placement leaves it to nextbest which version of the default decides.

    It does where it names the default as its policy, and nobody has made another policy its champion, is trying one
    out, or has gone back from a later version than the one that decides.
    """
    champion = PolicyKey(champion_of(placement, deployment))
    if placement.policy != DEFAULT_NAME or champion.name != DEFAULT_NAME or deployment.canary is not None:
        return False
    left = (PolicyKey(key) for key in deployment.was)
    return not any(key.name == DEFAULT_NAME and key.version > champion.version for key in left)


def awaits(placement: Placement, deployment: Deployment, key: str) -> bool:
    """Return whether the version ``key`` of the default is to decide in a placement, and does not yet."""
    if not uses_default(placement, deployment):
        return False
    return PolicyKey(champion_of(placement, deployment)).version < PolicyKey(key).version


def superseded(versions: Sequence[PolicyKey]) -> list[PolicyKey]:
    """List the versions that nobody needs any more: all but the newest and the one before, to which one may go back."""
    return sorted(versions, key=lambda key: key.version)[:-2]


def _is_blind(feature: Feature) -> bool:
    """Return whether a feature was made without knowing the values of its fact."""
    return feature.path is not None and (
        feature.buckets is not None or (feature.kind == "numeric" and feature.low is None)
    )


def _named(paths: Sequence[str]) -> str:
    named = ", ".join(paths[:MAX_NAMED])
    return named if len(paths) <= MAX_NAMED else f"{named} and {len(paths) - MAX_NAMED} more"

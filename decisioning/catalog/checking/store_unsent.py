"""Warnings of facts that a catalogue asks for and that nobody ever sent: of placements' logs and of features in use."""

from sqlalchemy.ext.asyncio import AsyncEngine

from bandits.errors import PolicyParameterError
from bandits.features import Feature
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.checking.warning import CatalogueWarning
from decisioning.model.deployment import champion_of
from decisioning.policies.known_facts import unsent_paths
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_facts import read_samples
from decisioning.policies.store_rows import RegisteredPolicy


async def find_unsent_warnings(engine: AsyncEngine, catalogue: Catalogue) -> list[CatalogueWarning]:
    """Find the facts that nobody ever sent, of those that placements log, and that policies learn from there.

    Raises ``PostgresUnavailable``.
    """
    logged: list[tuple[str, str, str]] = []
    keys: set[str] = set()
    for placement_id, placement in sorted(catalogue.placements.items()):
        deployment = catalogue.deployment(placement_id)
        keys |= {champion_of(placement, deployment), *deployment.policies}
        field = f"placements.{placement_id}.log_facts"
        logged += [(f"{field}.{i}", path, "logged") for i, path in enumerate(placement.log_facts)]
    learned = [
        (f"policies.{policy.key}.features.{feature.name}.path", feature.path, "learned from")
        for policy in await PolicyStore(engine).all()
        if policy.key in keys
        for feature in _features_of(policy)
        if feature.path is not None
    ]
    used = logged + learned
    if not used:
        return []
    attributes = catalogue.checker.vocabulary.attributes.values()
    unsent = unsent_paths((path for _, path, _ in used), attributes, *await read_samples(engine))
    return [
        CatalogueWarning(
            field,
            f"{unsent[path].reason}, so it is not {use}",
            "send it, or leave it out" if (like := unsent[path].like) is None else f"did you mean {like!r}?",
        )
        for field, path, use in used
        if path in unsent
    ]


def _features_of(policy: RegisteredPolicy) -> tuple[Feature, ...]:
    try:
        return policy.spec.features
    except PolicyParameterError:  # it cannot be used here; `/readyz` says so
        return ()

"""Warnings of what is sent: facts that a catalogue asks for and that never come, and contexts not as declared."""

from collections import Counter
from collections.abc import Iterator

from sqlalchemy.ext.asyncio import AsyncEngine

from bandits.errors import PolicyParameterError
from bandits.features import Feature
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.checking.warning import CatalogueWarning
from decisioning.catalog.compared import is_as_declared
from decisioning.model.deployment import champion_of
from decisioning.policies.known_facts import unsent_paths
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_facts import read_samples
from decisioning.policies.store_rows import RegisteredPolicy


async def find_fact_warnings(engine: AsyncEngine, catalogue: Catalogue) -> list[CatalogueWarning]:
    """Find facts that nobody ever sent, of those that placements log and policies learn from, and undeclared ones.

    Looked at are some customers and the latest decisions. Raises ``PostgresUnavailable``.
    """
    customers, contexts = await read_samples(engine)
    used = [*_logged(catalogue), *await _learned(engine, catalogue)]
    attributes = catalogue.checker.vocabulary.attributes
    unsent = unsent_paths((path for _, path, _ in used), attributes.values(), customers, contexts)
    warnings = [
        CatalogueWarning(
            field,
            f"{unsent[path].reason}, so it is not {use}",
            "send it, or leave it out" if (like := unsent[path].like) is None else f"did you mean {like!r}?",
        )
        for field, path, use in used
        if path in unsent
    ]
    # Values are not told: they may be personal.
    odd = Counter(
        path
        for context in contexts
        for path, value in context.items()
        if path in attributes and not is_as_declared(attributes[path], value)
    )
    for path, count in sorted(odd.items()):
        told = f"had a value or a type that is not declared in {count} of the last {len(contexts)} decisions"
        warnings.append(CatalogueWarning(path, told, "send what is declared, or declare what is sent"))
    return warnings


def _logged(catalogue: Catalogue) -> Iterator[tuple[str, str, str]]:
    for placement_id, placement in sorted(catalogue.placements.items()):
        for i, path in enumerate(placement.log_facts):
            yield f"placements.{placement_id}.log_facts.{i}", path, "logged"


async def _learned(engine: AsyncEngine, catalogue: Catalogue) -> list[tuple[str, str, str]]:
    keys: set[str] = set()
    for placement_id, placement in catalogue.placements.items():
        deployment = catalogue.deployment(placement_id)
        keys |= {champion_of(placement, deployment), *deployment.policies}
    return [
        (f"policies.{policy.key}.features.{feature.name}.path", feature.path, "learned from")
        for policy in await PolicyStore(engine).all()
        if policy.key in keys
        for feature in _features_of(policy)
        if feature.path is not None
    ]


def _features_of(policy: RegisteredPolicy) -> tuple[Feature, ...]:
    try:
        return policy.spec.features
    except PolicyParameterError:  # it cannot be used here; `/readyz` says so
        return ()

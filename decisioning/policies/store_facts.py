"""The facts that keep coming, looked at in Postgres: customers' records, and the contexts of recent decisions."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine

from bandits.auto_features import auto_features
from bandits.errors import PolicyParameterError
from bandits.features import Feature
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.checking.warning import CatalogueWarning
from decisioning.model.deployment import champion_of
from decisioning.policies.known_facts import Sample, known_facts, unsent_facts, unsent_paths
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_rows import RegisteredPolicy
from profiles.customer import Customer
from profiles.store_sample import sample_profiles
from rules.vocabulary import Attribute
from storage.postgres import transaction

SAMPLED = 1_000
"""Customers, and decisions, that are looked at."""
MAX_DEPTH = 4

_CONTEXTS = text(
    "SELECT header -> 'context' AS context FROM decisions WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT :size"
).columns(context=JSONB)


async def choose_features(engine: AsyncEngine, attributes: Iterable[Attribute]) -> tuple[Feature, ...]:
    """Choose what ``features: auto`` stands for now. ``attributes``: those of the catalogue's vocabulary.

    Raises ``PostgresUnavailable``.
    """
    return auto_features(known_facts(attributes, await read_samples(engine)))


async def find_unsent(
    engine: AsyncEngine, features: Iterable[Feature], attributes: Iterable[Attribute]
) -> list[str]:
    """Describe the features whose facts nobody ever sent, as far as was looked at. Raises ``PostgresUnavailable``."""
    wanted = [feature for feature in features if feature.path is not None]
    return unsent_facts(wanted, attributes, *await read_samples(engine)) if wanted else []


async def find_unsent_warnings(engine: AsyncEngine, catalogue: Catalogue) -> list[CatalogueWarning]:
    """Find the facts that nobody ever sent, of those that placements log, and that policies learn from there.

    Raises ``PostgresUnavailable``.
    """
    logged, keys = [], set()
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


async def read_samples(engine: AsyncEngine) -> tuple[Sample, Sample]:
    """Read the facts of some customers, and the contexts of the latest decisions. Raises ``PostgresUnavailable``."""
    profiles, _ = await sample_profiles(engine, {}, SAMPLED)
    async with transaction(engine) as connection:
        rows = (await connection.execute(_CONTEXTS, {"size": SAMPLED})).all()
    customers = [customer_facts(profile.customer) for profile in profiles]
    return customers, [flat_facts("context", row.context or {}) for row in rows]


def customer_facts(customer: Customer) -> dict[str, Any]:
    """Return the facts of a customer's record by path, as decisions know them."""
    record = {**customer.attributes, **customer.indicators}
    facts = {f"customer.{name}": value for name, value in record.items()}
    return {**facts, "customer.holdings": customer.holdings, "customer.interests": customer.interests}


def flat_facts(root: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts in nested mappings by path, down to the depth that paths have."""
    found: dict[str, Any] = {}
    layer: list[tuple[str, Mapping[str, Any]]] = [(root, values)]
    for _ in range(MAX_DEPTH):
        deeper = []
        for path, mapping in layer:
            for name, value in mapping.items():
                if isinstance(value, Mapping):
                    deeper.append((f"{path}.{name}", value))
                elif value is not None:
                    found[f"{path}.{name}"] = value
        layer = deeper
    return found

"""The facts that keep coming, looked at in Postgres: customers' records, and the contexts of recent decisions."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine

from bandits.auto_features import auto_features
from bandits.features import Feature
from decisioning.policies.known_facts import Sample, known_facts, unsent_facts
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


async def read_samples(engine: AsyncEngine) -> tuple[Sample, Sample]:
    """Read the facts of some customers, and the contexts of the latest decisions. Raises ``PostgresUnavailable``."""
    profiles, _ = await sample_profiles(engine, None, SAMPLED)
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

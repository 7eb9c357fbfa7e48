"""``features: auto`` in what is sent: resolved by the catalogue, and by the facts that keep coming."""

from typing import Any

from app.state import ApiState
from bandits.features import Feature
from bandits.specification import wants_auto_features
from decisioning.policies.store_facts import choose_features


async def auto_features_of(values: Any, state: ApiState) -> tuple[Feature, ...] | None:
    """Return what ``features: auto`` stands for now; ``None`` if it was not said. Raises ``PostgresUnavailable``."""
    if not wants_auto_features(values):
        return None
    # An attribute that was declared in another process a moment ago counts.
    await state.refresh()
    return await choose_features(state.engine, state.current_catalogue().attributes.values())

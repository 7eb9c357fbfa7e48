"""Fills in what a specification leaves open: ``features: auto``, model files by their hash, sources by name."""

from typing import Any

from app.state import ApiState
from bandits.features import Feature
from bandits.specification import wants_auto_features
from decisioning.errors import Invalid
from decisioning.policies.store_facts import choose_features
from decisioning.policies.store_models import look_up_models, needs_look_up


async def with_models(values: Any, state: ApiState, at: str = "") -> Any:
    """Put in the model file, and the source of propensities, that a specification only names.

    Raises ``Invalid`` (its field begins with ``at``), ``PostgresUnavailable``.
    """
    if not needs_look_up(values):
        return values
    await state.refresh()
    catalogue = state.current_catalogue()
    try:
        return await look_up_models(values, state.engine, catalogue.offers.values(), catalogue.groups)
    except Invalid as error:
        raise Invalid(f"{at}{error.field}", str(error)) from None


async def auto_features_of(values: Any, state: ApiState) -> tuple[Feature, ...] | None:
    """Return what ``features: auto`` stands for now; ``None`` if it was not said. Raises ``PostgresUnavailable``."""
    if not wants_auto_features(values):
        return None
    # An attribute that was declared in another process a moment ago counts.
    await state.refresh()
    return await choose_features(state.engine, state.current_catalogue().attributes.values())

"""The kinds of catalogue entries and their shapes, for reading and writing them."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from decisioning.model import deployment
from decisioning.model import entities as model
from rules.vocabulary import Attribute

Entry = tuple[str, str, Mapping[str, Any] | None]
"""Kind, id, and body; no body means that the thing has been deleted."""

SECTIONS: Mapping[str, str] = {
    "attribute": "attributes",
    "segment": "segments",
    "group": "groups",
    "offer": "offers",
    "placement": "placements",
    "contact_policy": "contact_policies",
    "quiet_hours": "quiet_hours",
    "capacity": "capacities",
    "override": "overrides",
    "context_weight": "context_weights",
}
"""The kinds that are sections of a catalogue, and fields of ``Catalogue``. Treatments stand in their offers."""

ID_FIELDS: Mapping[str, str] = {
    "attribute": "path",
    "segment": "segment_id",
    "group": "group_id",
    "offer": "offer_id",
    "treatment": "treatment_id",
    "placement": "placement_id",
    "contact_policy": "policy_id",
    "quiet_hours": "quiet_id",
    "capacity": "capacity_id",
    "override": "override_id",
    "context_weight": "weight_id",
    "deployment": "placement_id",
}
KINDS = frozenset({*ID_FIELDS, "goal"})
NOT_IN_FILES = frozenset({"deployment"})
"""Kinds that have a life of their own: files leave them alone, and so do rollbacks."""

TYPES: Mapping[str, type] = {
    "attribute": Attribute,
    "segment": model.Segment,
    "group": model.Group,
    "offer": model.Offer,
    "treatment": model.Treatment,
    "placement": model.Placement,
    "contact_policy": model.ContactPolicy,
    "quiet_hours": model.QuietHours,
    "capacity": model.Capacity,
    "override": model.Override,
    "context_weight": model.ContextWeight,
    "deployment": deployment.Deployment,
}
for _cls in (*vars(model).values(), *vars(deployment).values(), Attribute):
    if is_dataclass(_cls):
        setattr(_cls, "__pydantic_config__", ConfigDict(extra="forbid"))  # noqa: B010

CLASSES: Mapping[str, TypeAdapter[Any]] = {kind: TypeAdapter(cls) for kind, cls in TYPES.items()}
"""Make a thing of its stored body with its id; unknown names are refused."""

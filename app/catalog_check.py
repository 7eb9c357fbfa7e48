"""The check of catalogue entries in a file: they are held to what the API takes."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from app.api.catalogue.kind_schemas import (
    AttributeBody,
    AttributePath,
    CapacityBody,
    ContactPolicyBody,
    ContextWeightBody,
    GoalBody,
    OverrideBody,
    QuietHoursBody,
    SegmentBody,
    SegmentName,
)
from app.api.catalogue.offer_schemas import OfferBody
from app.api.catalogue.schemas import GroupBody, PlacementBody, TreatmentBody
from app.api.schemas import Body, Id, from_ms
from decisioning.model.entities import FOREVER_MS

_BODIES: Mapping[str, type[Body]] = {
    "attribute": AttributeBody,
    "segment": SegmentBody,
    "group": GroupBody,
    "offer": OfferBody,
    "treatment": TreatmentBody,
    "placement": PlacementBody,
    "contact_policy": ContactPolicyBody,
    "quiet_hours": QuietHoursBody,
    "capacity": CapacityBody,
    "override": OverrideBody,
    "context_weight": ContextWeightBody,
    "goal": GoalBody,
}
_ID: TypeAdapter[str] = TypeAdapter(Id)
_IDS: Mapping[str, TypeAdapter[str]] = {
    "attribute": TypeAdapter(AttributePath),
    "segment": TypeAdapter(SegmentName),
}


def check_entry(kind: str, name: str, body: Mapping[str, Any]) -> None:
    """Raise ``ValidationError`` for an id or a body that the API would not take."""
    own = name.partition("/")[2] if kind == "treatment" else name
    _IDS.get(kind, _ID).validate_python(own)
    values = dict(body)
    for stored, sent, none in (("starts_ms", "starts_at", 0), ("ends_ms", "ends_at", FOREVER_MS)):
        at_ms = values.pop(stored, none)
        if at_ms != none:
            values[sent] = from_ms(at_ms).isoformat()
    _BODIES[kind].model_validate(values)

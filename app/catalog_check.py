"""The check of catalogue entries in a file: they are held to what the API takes."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.api.catalogue.kind_schemas import SIMPLE_KINDS, KindSchema
from app.api.catalogue.offer_schemas import OfferBody
from app.api.catalogue.schemas import GroupBody, PlacementBody, TreatmentBody
from app.errors import in_words
from decisioning.catalog.kinds import KINDS
from decisioning.model.entities import FOREVER_MS
from storage.clock import to_datetime

_OTHER_KINDS: Mapping[str, KindSchema] = {
    "group": KindSchema(GroupBody),
    "offer": KindSchema(OfferBody),
    "treatment": KindSchema(TreatmentBody),
    "placement": KindSchema(PlacementBody),
}


def check_entry(kind: str, name: str, body: Mapping[str, Any]) -> None:
    """Raise ``ValidationError`` for an id or a body that the API would not take."""
    schema = SIMPLE_KINDS.get(kind) or _OTHER_KINDS[kind]
    try:
        schema.ids.validate_python(KINDS[kind].own_id(name))
    except ValidationError as error:
        raise in_words(error) from None
    # Entries hold milliseconds where the API takes times; bounds that are not set are left out there.
    values = dict(body)
    for stored, sent, none in (("starts_ms", "starts_at", 0), ("ends_ms", "ends_at", FOREVER_MS)):
        at_ms = values.pop(stored, none)
        if at_ms != none:
            values[sent] = to_datetime(at_ms).isoformat()
    try:
        schema.body.model_validate(values)
    except ValidationError as error:
        raise in_words(error) from None

"""The check of catalogue entries in a file: they are held to what the API takes."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.api.catalogue.kind_schemas import SIMPLE_KINDS, KindSchema
from app.api.catalogue.offer_schemas import OfferBody
from app.api.catalogue.schemas import GroupBody, PlacementBody, TreatmentBody
from app.api.schemas import sent_form
from app.errors import in_words
from decisioning.catalog.kinds import KINDS

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
        schema.body.model_validate(sent_form(body))
    except ValidationError as error:
        raise in_words(error) from None

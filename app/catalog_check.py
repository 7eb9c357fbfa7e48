"""The check of a catalogue in a file: entries are held to what the API takes, and all mistakes are told at once."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pydantic import ValidationError

from app.api.catalogue.kind_schemas import SIMPLE_KINDS, KindSchema
from app.api.catalogue.offer_schemas import OfferBody
from app.api.catalogue.schemas import GroupBody, PlacementBody, TreatmentBody
from app.api.schemas import sent_form
from app.errors import in_words
from decisioning.catalog.kinds import KINDS
from decisioning.catalog.store import CatalogueStore
from decisioning.catalog.summary import Application
from decisioning.catalog.yaml_document import Document
from decisioning.errors import Invalid, NotFound

_OTHER_KINDS: Mapping[str, KindSchema] = {
    "group": KindSchema(GroupBody),
    "offer": KindSchema(OfferBody),
    "treatment": KindSchema(TreatmentBody),
    "placement": KindSchema(PlacementBody),
}


def body_schema(kind: str) -> KindSchema:
    """Return the body and the ids of a kind, as the API takes them."""
    return SIMPLE_KINDS.get(kind) or _OTHER_KINDS[kind]


def check_entry(kind: str, name: str, body: Mapping[str, Any]) -> None:
    """Raise ``ValidationError`` for an id or a body that the API would not take."""
    schema = body_schema(kind)
    try:
        schema.ids.validate_python(KINDS[kind].own_id(name))
        schema.body.model_validate(sent_form(body))
    except ValidationError as error:
        raise in_words(error) from None


@asynccontextmanager
async def refusing(
    document: Document, store: CatalogueStore, version: int, planned: Application
) -> AsyncIterator[None]:
    """Refuse a document with all that is wrong with it, before the block if it could not be read completely.

    Raises ``DocumentError``, also in place of the first mistake that the block comes upon.
    """

    async def refuse() -> None:
        found = await store.mistakes(version, planned.changes, document.unread)
        if document.mistakes or found:
            document.refuse(found)

    if document.mistakes:
        await refuse()
    try:
        yield
    except (Invalid, NotFound):
        await refuse()
        raise

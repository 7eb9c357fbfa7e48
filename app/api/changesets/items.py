"""The items of change sets: bodies are held to what the API takes of the same thing in a `PUT` or `PATCH`."""

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from app.api.catalogue.kind_routes import sent_model
from app.api.catalogue.kind_schemas import SIMPLE_KINDS
from app.api.catalogue.routes import check_as_read
from app.api.merge_patch import check_ids, merged_body
from app.api.schemas import Body, Id, sent_form
from app.catalog_check import body_schema
from app.errors import Problem, reason_of
from app.state import ApiState
from decisioning.catalog.kind import Entry
from decisioning.catalog.kinds import KINDS, TREATMENT
from decisioning.changesets.changeset import Changeset
from decisioning.errors import NotFound

_PARENT: TypeAdapter[str] = TypeAdapter(Id)


def check_name(kind: str, name: str) -> None:
    """Raise ``Problem`` (422) for a kind that change sets do not take, or an id that is none of its."""
    if kind not in KINDS or not KINDS[kind].in_files:
        taken = ", ".join(sorted(known.name for known in KINDS.values() if known.in_files))
        raise Problem(422, f"{kind[:100]!r} is no kind of things in change sets: there are {taken}", "kind")
    if KINDS[kind] is TREATMENT and "/" not in name:
        raise Problem(422, f"{name!r} is no OFFER/TREATMENT: write gold/banner", "thing")
    try:
        body_schema(kind).ids.validate_python(KINDS[kind].own_id(name))
        if KINDS[kind] is TREATMENT:
            _PARENT.validate_python(name.partition("/")[0])
    except ValidationError as error:
        raise Problem(422, reason_of(error.errors()[0]), "thing") from None


async def replaced_item(state: ApiState, kind: str, name: str, body: Mapping[str, Any] | None) -> Entry:
    """Make an item of a whole body as it is sent; without one the thing is removed.

    Raises ``Problem`` or ``RequestValidationError``, which name the field.
    """
    if body is None:
        return kind, name, None
    try:
        found = _model(kind).model_validate(body)
    except ValidationError as error:
        raise RequestValidationError(
            [{**e, "loc": ("body", "body", *e["loc"])} for e in error.errors(include_url=False)]
        ) from None
    check_ids(found, KINDS[kind].own_id(name))
    as_read = {field: body[field] for field in ("treatments", "inherited") if body.get(field) is not None}
    if as_read:
        await check_as_read(state, name, as_read)
    return kind, name, found.stored()


async def patched_item(
    state: ApiState, changeset: Changeset, kind: str, name: str, patch: Mapping[str, Any]
) -> Entry:
    """Make an item of a merge patch, on top of the item in the change set, or else of the thing in force.

    Raises ``NotFound`` if there is neither, and ``RequestValidationError``, which names the field.
    """
    items = {item[:2]: item[2] for item in changeset.items}
    stored = items[kind, name] if (kind, name) in items else (await state.catalogues.newest(kind, name))[1]
    if stored is None:
        raise NotFound(kind, name)
    body = merged_body(_model(kind), sent_form(KINDS[kind].sendable(name, stored)), patch)
    check_ids(body, KINDS[kind].own_id(name))
    return kind, name, body.stored()


def _model(kind: str) -> type[Body]:
    model = body_schema(kind).body
    return sent_model(model) if kind in SIMPLE_KINDS else model

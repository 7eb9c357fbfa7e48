"""JSON Merge Patch (RFC 7396): a change by the names that it mentions."""

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Body as FromBody
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app.api.schemas import Body
from app.errors import Problem

B = TypeVar("B", bound=Body)

MergePatch = Annotated[
    dict[str, Any],
    FromBody(description="What changes (RFC 7396): null removes, objects are merged, lists are replaced."),
]


def merge_patch_of(example: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the documentation of such a route says beyond what is read from its function."""
    schema = {"type": "object", "additionalProperties": True}
    return {
        "requestBody": {
            "content": {
                "application/json": {"example": example},
                "application/merge-patch+json": {"schema": schema, "example": example},
            }
        }
    }


def merge(target: Any, patch: Any) -> Any:
    """Return ``target`` with what ``patch`` says; neither is changed."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def merged_body(
    model: type[B], current: Mapping[str, Any], patch: Mapping[str, Any], *, only_named: bool = False
) -> B:
    """Merge a patch into what would be sent to replace something by itself, and check the whole as a ``PUT`` does.

    ``only_named``: what the patch does not name is kept as it is, also where a ``PUT`` could not say it.

    Raises ``RequestValidationError`` for the field at fault, also for null where there is no such field.
    """
    for name in patch:
        if name not in model.model_fields:
            # A null would remove nothing, and its mistake go unnoticed.
            raise RequestValidationError(
                [{"type": "extra_forbidden", "loc": ("body", name), "msg": "Extra inputs are not permitted"}]
            )
    values = merge(current, patch)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        named = [found for found in errors if not only_named or _is_named(found["loc"], patch)]
        if named:
            raise RequestValidationError(
                [{**found, "loc": ("body", *found["loc"])} for found in named], body=values
            ) from None
        unchecked = {found["loc"][:2] for found in errors}
    return _keep(model, values, unchecked)


def _is_named(loc: tuple[int | str, ...], patch: Mapping[str, Any]) -> bool:
    """Return whether what is at ``loc`` in a body comes from the patch: a field, or an entry of an object."""
    if not loc:
        return True  # about the whole
    if loc[0] not in patch:
        return False
    entries = patch[str(loc[0])]
    return len(loc) == 1 or not isinstance(entries, Mapping) or loc[1] in entries


def _keep(model: type[B], values: Mapping[str, Any], unchecked: Collection[tuple[int | str, ...]]) -> B:
    """Make a body of values of which those at ``unchecked`` (a field, or an entry of it) are kept as they are."""
    checked: dict[str, Any] = dict(values)
    kept: dict[str, Any] = {}
    for field in {str(loc[0]) for loc in unchecked}:
        entries = {loc[1] for loc in unchecked if loc[0] == field and len(loc) > 1}
        kept[field] = value = checked.pop(field)
        if isinstance(value, Mapping) and (field,) not in unchecked:
            checked[field] = {name: entry for name, entry in value.items() if name not in entries}
            kept[field] = {name: value[name] for name in entries}
    body = model.model_validate(checked)
    for field, value in kept.items():
        is_part = field in checked
        setattr(body, field, {**getattr(body, field), **value} if is_part else value)
    return body


def check_ids(body: Body, name: str) -> None:
    """Raise ``Problem`` (422) if the body names another id than ``name``, that of the path."""
    for field, echo in body.echoes().items():
        sent = getattr(body, field)
        if echo.is_id and sent is not None and sent != name:
            raise Problem(422, f"is {sent!r} here, and {name!r} in the path", field)


def check_echoes(
    sent: Mapping[str, Any], read: Mapping[str, Any], fields: Iterable[str], way_out: str
) -> None:
    """Raise ``Problem`` (422) if one of the ``fields`` that are only read is sent with another value than it has."""
    for field in fields:
        if field in sent and sent[field] != read.get(field):
            raise Problem(422, f"is only read here, and not as it is sent: {way_out}", field)

"""JSON Merge Patch (RFC 7396): a change by the names that it mentions."""

from collections.abc import Iterable, Mapping
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


def merged_body(model: type[B], current: Mapping[str, Any], patch: Mapping[str, Any]) -> B:
    """Merge a patch into what would be sent to replace something by itself, and check the whole as a ``PUT`` does.

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
        raise RequestValidationError(
            [{**found, "loc": ("body", *found["loc"])} for found in error.errors(include_url=False)],
            body=values,
        ) from None


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

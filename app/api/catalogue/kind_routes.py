"""Routes of the simple kinds of catalogue entries: one set, made for each kind of the registry."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from fastapi import APIRouter, Response
from pydantic import BaseModel, create_model
from pydantic_core import to_jsonable_python

from app.api.body import JsonRoute
from app.api.catalogue.editing import Editing, Replacing, find_thing
from app.api.catalogue.kind_schemas import SIMPLE_KINDS, KindPublished, KindSchema
from app.api.deps import DeskReader, Reader, State, created, problems
from app.api.merge_patch import MergePatch, merge_patch_of
from app.api.schemas import Body, EchoedId, EchoedWarnings, WarningOut, shown_times
from decisioning.catalog.kind import Kind
from decisioning.catalog.kinds import GOAL, KINDS


def build_router() -> APIRouter:
    """Make the routes of all simple kinds."""
    made = APIRouter(prefix="/v1", tags=["catalogue"], route_class=JsonRoute)
    for name, schema in SIMPLE_KINDS.items():
        _add_routes(made, KINDS[name], schema)
    return made


def _add_routes(router: APIRouter, kind: Kind[Any], schema: KindSchema) -> None:
    """Make PUT, PATCH, GET, list and DELETE of one kind."""
    body_type = schema.body
    answer = _answer_model(kind.name, body_type)
    sent_type = sent_model(body_type)

    async def put(thing_id: Any, body: Any, edit: Replacing) -> KindPublished:
        version = await edit.replace(kind.name, thing_id, body)
        return KindPublished(id=thing_id, catalog_version=version, warnings=edit.warnings)

    async def patch(thing_id: Any, body: MergePatch, edit: Editing) -> dict[str, Any]:
        thing = await edit.patch(kind.name, thing_id, body, sent_type)
        return _answer(thing_id, thing) | {"warnings": edit.warnings}

    async def read_all(state: State, key: Reader) -> list[dict[str, Any]]:
        return [
            _answer(name, thing) for name, thing in sorted(state.current_catalogue().things(kind).items())
        ]

    async def read(thing_id: Any, state: State, key: Reader, response: Response) -> dict[str, Any]:
        return _answer(thing_id, find_thing(state, response, kind.name, thing_id))

    async def delete(thing_id: Any, edit: Editing) -> KindPublished:
        version = await edit.delete(kind.name, thing_id)
        return KindPublished(id=thing_id, catalog_version=version, warnings=edit.warnings)

    # FastAPI reads types and descriptions from the functions, so each kind gets its own.
    id_type = schema.id_type
    put.__annotations__ |= {"thing_id": id_type, "body": sent_type}
    patch.__annotations__ |= {"thing_id": id_type, "return": _patched_model(answer)}
    read.__annotations__ |= {"thing_id": id_type, "return": answer}
    if schema.for_desk:
        read.__annotations__["key"] = read_all.__annotations__["key"] = DeskReader
    read_all.__annotations__["return"] = list[answer]  # type: ignore[valid-type] # made at run time
    delete.__annotations__["thing_id"] = id_type
    if kind is GOAL:  # its offers lose what it demands
        delete.__annotations__["edit"] = Replacing
    put.__doc__ = f"Create or replace. {body_type.__doc__}"
    patch.__doc__ = f"Change what is named (JSON Merge Patch). {body_type.__doc__}"
    read_all.__doc__ = f"All of this kind. {body_type.__doc__}"
    read.__doc__ = body_type.__doc__
    delete.__doc__ = f"Delete, if nothing else refers to it. {body_type.__doc__}"
    _register(router, kind, body_type, _Handlers(put, patch, read_all, read, delete))


class _Handlers(NamedTuple):
    """The functions that answer the requests about one kind."""

    put: Callable[..., Any]
    patch: Callable[..., Any]
    read_all: Callable[..., Any]
    read: Callable[..., Any]
    delete: Callable[..., Any]


def _register(router: APIRouter, kind: Kind[Any], body_type: type[Body], to: _Handlers) -> None:
    """Give each handler its path and its place in the documentation."""
    what = kind.name.replace("_", " ")
    section = kind.section.replace("_", "-")
    many, one = f"/{section}", f"/{section}/{{thing_id}}"
    router.put(
        one,
        summary=f"Put {what}",
        operation_id=f"put_{kind.name}",
        responses=problems(409, 412, body=True) | created(KindPublished),
    )(to.put)
    router.patch(
        one,
        summary=f"Patch {what}",
        operation_id=f"patch_{kind.name}",
        responses=problems(404, 412, body=True),
        openapi_extra=merge_patch_of(_patch_example(body_type)),
    )(to.patch)
    router.get(
        many,
        summary=f"Read all {section.replace('-', ' ')}",
        operation_id=f"read_all_{kind.name}",
        responses=problems(),
    )(to.read_all)
    router.get(one, summary=f"Read {what}", operation_id=f"read_{kind.name}", responses=problems(404))(
        to.read
    )
    router.delete(
        one,
        summary=f"Delete {what}",
        operation_id=f"delete_{kind.name}",
        responses=problems(404, 409, 412) if kind is GOAL else problems(404, 412),
    )(to.delete)


@cache
def sent_model(body_type: type[Body]) -> type[Body]:
    """Make the model of a body that may name its id, as answers do."""
    fields: dict[str, Any] = {"id": (EchoedId, None), "warnings": (EchoedWarnings, None)}
    return create_model(body_type.__name__, __base__=body_type, __doc__=body_type.__doc__, **fields)


def _patch_example(body_type: type[Body]) -> dict[str, Any]:
    """Return the last field of the first example of a body."""
    extra: Any = body_type.model_config.get("json_schema_extra") or {}
    return dict([*extra.get("examples", [{}])[0].items()][-1:])


def _answer_model(kind: str, body_type: type[Body]) -> type[BaseModel]:
    """Make the model of a thing as it is in force: its id, and what its body has."""
    fields: dict[str, Any] = {"id": (str, ...)}
    for name, info in body_type.model_fields.items():
        fields[name] = (datetime | None if name in ("starts_at", "ends_at") else info.annotation, ...)
    title = "".join(part.capitalize() for part in kind.split("_"))
    return create_model(f"Catalogue{title}", __doc__=f"As it is in force. {body_type.__doc__}", **fields)


def _patched_model(answer: type[BaseModel]) -> type[BaseModel]:
    """Make the model of a thing as a patch made it: as it is in force, with warnings about that."""
    fields: dict[str, Any] = {"warnings": (list[WarningOut], [])}
    name = answer.__name__.replace("Catalogue", "Patched")
    return create_model(name, __base__=answer, __doc__=f"With warnings. {answer.__doc__}", **fields)


def _answer(name: str, thing: Any) -> dict[str, Any]:
    """Return a thing as the API shows it, with times in place of milliseconds."""
    # With lists in place of tuples: those of nested values are checked as they came.
    body: dict[str, Any] = to_jsonable_python(asdict(thing))
    if "starts_ms" in body:
        body |= shown_times(body.pop("starts_ms"), body.pop("ends_ms"))
    return {"id": name} | body


router = build_router()

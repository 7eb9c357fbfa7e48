"""Routes of the simple kinds of catalogue entries: one set, made for each kind."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, create_model

from app.api.body import JsonRoute
from app.api.catalogue.editing import Editing, tag
from app.api.catalogue.kind_schemas import (
    AttributeBody,
    AttributePath,
    CapacityBody,
    ContactPolicyBody,
    ContextWeightBody,
    Goal,
    GoalBody,
    KindPublished,
    OverrideBody,
    QuietHoursBody,
    SegmentBody,
    SegmentName,
)
from app.api.deps import Anyone, State, created, problems
from app.api.schemas import Body, Id, shown_times
from decisioning.catalog.catalogue import Catalogue
from decisioning.errors import NotFound

router = APIRouter(prefix="/v1", tags=["catalogue"], route_class=JsonRoute)

PathAttribute = Annotated[AttributePath, Path()]
PathSegment = Annotated[SegmentName, Path()]


def _routes(
    kind: str,
    path: str,
    body_type: type[Body],
    things: Callable[[Catalogue], Mapping[str, Any]],
    id_type: Any = Id,
) -> None:
    """Make PUT, GET, list and DELETE of one kind."""
    what = kind.replace("_", " ")
    shown = _answer(kind, body_type)

    async def put(thing_id: Any, body: Any, edit: Editing) -> KindPublished:
        stored = body.stored() if hasattr(body, "stored") else body.model_dump()
        return KindPublished(id=thing_id, catalog_version=await edit.put(kind, thing_id, stored))

    async def read_all(state: State, key: Anyone) -> list[dict[str, Any]]:
        return [_shown(name, thing) for name, thing in sorted(things(state.current_catalogue()).items())]

    async def read(thing_id: Any, state: State, key: Anyone, response: Response) -> dict[str, Any]:
        found = things(state.current_catalogue())
        if thing_id not in found:
            raise NotFound(what, thing_id)
        tag(state, response, kind, thing_id)
        return _shown(thing_id, found[thing_id])

    async def delete(thing_id: Any, edit: Editing) -> KindPublished:
        return KindPublished(id=thing_id, catalog_version=await edit.delete(kind, thing_id))

    put.__annotations__ |= {"thing_id": id_type, "body": body_type}
    read.__annotations__ |= {"thing_id": id_type, "return": shown}
    read_all.__annotations__["return"] = list[shown]  # type: ignore[valid-type] # made at run time
    delete.__annotations__["thing_id"] = id_type
    put.__doc__ = f"Create or replace. {body_type.__doc__}"
    read_all.__doc__ = f"All of this kind. {body_type.__doc__}"
    read.__doc__ = body_type.__doc__
    delete.__doc__ = f"Delete, if nothing else refers to it. {body_type.__doc__}"
    one, many = f"/{path}/{{thing_id}}", path.replace("-", " ")
    router.put(
        one,
        summary=f"Put {what}",
        operation_id=f"put_{kind}",
        responses=problems(412, body=True) | created(KindPublished),
    )(put)
    router.get(f"/{path}", summary=f"Read all {many}", operation_id=f"read_all_{kind}", responses=problems())(
        read_all
    )
    router.get(one, summary=f"Read {what}", operation_id=f"read_{kind}", responses=problems(404))(read)
    router.delete(one, summary=f"Delete {what}", operation_id=f"delete_{kind}", responses=problems(404, 412))(
        delete
    )


def _answer(kind: str, body_type: type[Body]) -> type[BaseModel]:
    """The model of a thing as it is in force: its id, and what its body has."""
    fields: dict[str, Any] = {"id": (str, ...)}
    for name, info in body_type.model_fields.items():
        fields[name] = (datetime | None if name in ("starts_at", "ends_at") else info.annotation, ...)
    title = "".join(part.capitalize() for part in kind.split("_"))
    return create_model(f"Catalogue{title}", __doc__=f"As it is in force. {body_type.__doc__}", **fields)


def _shown(name: str, thing: Any) -> dict[str, Any]:
    """A thing as it travels, with times in place of milliseconds."""
    body = asdict(thing) if is_dataclass(thing) and not isinstance(thing, type) else {"lever": thing}
    if "starts_ms" in body:
        body |= shown_times(body.pop("starts_ms"), body.pop("ends_ms"))
    return {"id": name} | body


_routes("attribute", "attributes", AttributeBody, lambda c: c.attributes, PathAttribute)
_routes(
    "segment",
    "segments",
    SegmentBody,
    lambda c: c.segments,
    PathSegment,
)
_routes("contact_policy", "contact-policies", ContactPolicyBody, lambda c: c.contact_policies)
_routes("quiet_hours", "quiet-hours", QuietHoursBody, lambda c: c.quiet_hours)
_routes("capacity", "capacities", CapacityBody, lambda c: c.capacities)
_routes("override", "overrides", OverrideBody, lambda c: c.overrides)
_routes("context_weight", "context-weights", ContextWeightBody, lambda c: c.context_weights)
_routes("goal", "goals", GoalBody, lambda c: c.goal_levers, Goal)

"""Routes of the simple kinds of catalogue entries: one set, made for each kind."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from app.api.body import JsonRoute
from app.api.deps import Anyone, State, created, problems
from app.api.editing import Editing, tag
from app.api.schemas import Body, Id
from app.api.schemas_kinds import (
    AttributeBody,
    CapacityBody,
    ContactPolicyBody,
    ContextWeightBody,
    Goal,
    GoalBody,
    KindPublished,
    OverrideBody,
    QuietHoursBody,
    SegmentBody,
)
from decisioning.catalog import Catalogue
from decisioning.errors import NotFound

router = APIRouter(prefix="/v1", tags=["catalogue"], route_class=JsonRoute)

AttributePath = Annotated[
    str, Path(pattern=r"^(customer|context|offer)(\.[A-Za-z_][A-Za-z0-9_]{0,63}){1,4}$")
]

SegmentName = Annotated[str, Path(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


def _routes(
    kind: str,
    path: str,
    body_type: type[Body],
    things: Callable[[Catalogue], Mapping[str, Any]],
    id_type: Any = Id,
) -> None:
    """Make PUT, GET, list and DELETE of one kind."""
    what = kind.replace("_", " ")

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
    read.__annotations__["thing_id"] = delete.__annotations__["thing_id"] = id_type
    one = f"/{path}/{{thing_id}}"
    summary = f"{what}s" if not what.endswith("s") else what
    router.put(
        one,
        summary=f"Create or replace a {what}",
        operation_id=f"put_{kind}",
        responses=problems(412, body=True) | created(KindPublished),
    )(put)
    router.get(f"/{path}", summary=f"All {summary}", operation_id=f"read_all_{kind}", responses=problems())(
        read_all
    )
    router.get(one, summary=f"One {what}", operation_id=f"read_{kind}", responses=problems(404))(read)
    router.delete(
        one, summary=f"Delete a {what}", operation_id=f"delete_{kind}", responses=problems(404, 412)
    )(delete)


def _shown(name: str, thing: Any) -> dict[str, Any]:
    body = asdict(thing) if is_dataclass(thing) and not isinstance(thing, type) else {"lever": thing}
    return {"id": name} | body


_routes("attribute", "attributes", AttributeBody, lambda c: c.attributes, AttributePath)
_routes(
    "segment",
    "segments",
    SegmentBody,
    lambda c: c.segments,
    SegmentName,
)
_routes("contact_policy", "contact-policies", ContactPolicyBody, lambda c: c.contact_policies)
_routes("quiet_hours", "quiet-hours", QuietHoursBody, lambda c: c.quiet_hours)
_routes("capacity", "capacities", CapacityBody, lambda c: c.capacities)
_routes("override", "overrides", OverrideBody, lambda c: c.overrides)
_routes("context_weight", "context-weights", ContextWeightBody, lambda c: c.context_weights)
_routes("goal", "goals", GoalBody, lambda c: c.goal_levers, Goal)

"""The catalogue: groups, offers, treatments, placements."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response

from app.api.deps import Anyone, Ops, State, problems
from app.api.schemas import GroupBody, Id, OfferBody, PlacementBody, TreatmentBody, from_ms
from app.keys import ApiKey
from app.state import ApiState
from decisioning.catalog.model import Offer
from decisioning.errors import NotFound

router = APIRouter(prefix="/v1", tags=["catalogue"])


async def _put(
    state: ApiState, key: ApiKey, response: Response, kind: str, name: str, body: Mapping[str, Any]
) -> int:
    catalogue, new = await state.catalogues.put(kind, name, body, author=key.name)
    state.publish(catalogue)
    response.status_code = 201 if new else 200
    return catalogue.version


def _offer_out(offer: Offer) -> dict[str, Any]:
    body = asdict(offer)
    body["starts_at"] = from_ms(body.pop("starts_ms"))
    body["ends_at"] = from_ms(body.pop("ends_ms"))
    return body


def _found(things: Mapping[str, Any], what: str, name: str) -> Any:
    if name not in things:
        raise NotFound(what, name)
    return things[name]


@router.get("/groups", responses=problems())
async def read_groups(state: State, key: Anyone) -> list[dict[str, Any]]:
    """All groups."""
    return [asdict(group) for group in state.current_catalogue().groups.values()]


@router.put("/groups/{group_id}", responses=problems(413) | {201: {"description": "Created"}})
async def put_group(
    group_id: Id, body: GroupBody, state: State, key: Ops, response: Response
) -> dict[str, Any]:
    """Create or replace a group."""
    version = await _put(state, key, response, "group", group_id, body.model_dump())
    return {"group_id": group_id, "catalog_version": version}


@router.get("/offers", responses=problems())
async def read_offers(state: State, key: Anyone) -> list[dict[str, Any]]:
    """All offers, with their treatments."""
    return [_offer_out(offer) for offer in state.current_catalogue().offers.values()]


@router.get("/offers/{offer_id}", responses=problems(404))
async def read_offer(offer_id: Id, state: State, key: Anyone) -> dict[str, Any]:
    """One offer, with its treatments."""
    return _offer_out(_found(state.current_catalogue().offers, "offer", offer_id))


@router.put("/offers/{offer_id}", responses=problems(413) | {201: {"description": "Created"}})
async def put_offer(
    offer_id: Id, body: OfferBody, state: State, key: Ops, response: Response
) -> dict[str, Any]:
    """Create or replace an offer. It is live in every process within a second."""
    version = await _put(state, key, response, "offer", offer_id, body.stored())
    return {"offer_id": offer_id, "catalog_version": version}


@router.put(
    "/offers/{offer_id}/treatments/{treatment_id}",
    responses=problems(404, 413) | {201: {"description": "Created"}},
)
async def put_treatment(
    offer_id: Id, treatment_id: Id, body: TreatmentBody, state: State, key: Ops, response: Response
) -> dict[str, Any]:
    """Create or replace a treatment of an offer."""
    _found(state.current_catalogue().offers, "offer", offer_id)
    name = f"{offer_id}/{treatment_id}"
    version = await _put(state, key, response, "treatment", name, body.model_dump())
    return {"offer_id": offer_id, "treatment_id": treatment_id, "catalog_version": version}


@router.get("/placements", responses=problems())
async def read_placements(state: State, key: Anyone) -> list[dict[str, Any]]:
    """All placements."""
    return [asdict(placement) for placement in state.current_catalogue().placements.values()]


@router.get("/placements/{placement_id}", responses=problems(404))
async def read_placement(placement_id: Id, state: State, key: Anyone) -> dict[str, Any]:
    """One placement."""
    return asdict(_found(state.current_catalogue().placements, "placement", placement_id))


@router.put("/placements/{placement_id}", responses=problems(413) | {201: {"description": "Created"}})
async def put_placement(
    placement_id: Id, body: PlacementBody, state: State, key: Ops, response: Response
) -> dict[str, Any]:
    """Create or replace a placement."""
    version = await _put(state, key, response, "placement", placement_id, body.model_dump())
    return {"placement_id": placement_id, "catalog_version": version}

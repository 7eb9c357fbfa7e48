"""The catalogue: groups, offers, treatments, placements."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response

from app.api.body import JsonRoute
from app.api.deps import Anyone, Ops, State, created, problems
from app.api.schemas import Id
from app.api.schemas_catalog import (
    CatalogueGroup,
    CatalogueOffer,
    CataloguePlacement,
    GroupBody,
    GroupPublished,
    OfferBody,
    OfferPublished,
    PlacementBody,
    PlacementPublished,
    TreatmentBody,
    TreatmentPublished,
)
from app.keys import ApiKey
from app.state import ApiState
from decisioning.errors import NotFound

router = APIRouter(prefix="/v1", tags=["catalogue"], route_class=JsonRoute)


async def _put(
    state: ApiState, key: ApiKey, response: Response, kind: str, name: str, body: Mapping[str, Any]
) -> int:
    catalogue, new = await state.catalogues.put(kind, name, body, author=key.name)
    state.publish(catalogue)
    response.status_code = 201 if new else 200
    return catalogue.version


def _found(things: Mapping[str, Any], what: str, name: str) -> Any:
    if name not in things:
        raise NotFound(what, name)
    return things[name]


@router.get("/groups", responses=problems())
async def read_groups(state: State, key: Anyone) -> list[CatalogueGroup]:
    """All groups."""
    return [CatalogueGroup(**asdict(group)) for group in state.current_catalogue().groups.values()]


@router.get("/groups/{group_id}", responses=problems(404))
async def read_group(group_id: Id, state: State, key: Anyone) -> CatalogueGroup:
    """One group."""
    return CatalogueGroup(**asdict(_found(state.current_catalogue().groups, "group", group_id)))


@router.put("/groups/{group_id}", responses=problems(body=True) | created(GroupPublished))
async def put_group(
    group_id: Id, body: GroupBody, state: State, key: Ops, response: Response
) -> GroupPublished:
    """Create or replace a group."""
    version = await _put(state, key, response, "group", group_id, body.model_dump())
    return GroupPublished(group_id=group_id, catalog_version=version)


@router.get("/offers", responses=problems())
async def read_offers(state: State, key: Anyone) -> list[CatalogueOffer]:
    """All offers, with their treatments."""
    return [CatalogueOffer.of(offer) for offer in state.current_catalogue().offers.values()]


@router.get("/offers/{offer_id}", responses=problems(404))
async def read_offer(offer_id: Id, state: State, key: Anyone) -> CatalogueOffer:
    """One offer, with its treatments."""
    return CatalogueOffer.of(_found(state.current_catalogue().offers, "offer", offer_id))


@router.put("/offers/{offer_id}", responses=problems(body=True) | created(OfferPublished))
async def put_offer(
    offer_id: Id, body: OfferBody, state: State, key: Ops, response: Response
) -> OfferPublished:
    """Create or replace an offer. It is live in every process within a second."""
    version = await _put(state, key, response, "offer", offer_id, body.stored())
    return OfferPublished(offer_id=offer_id, catalog_version=version)


@router.put(
    "/offers/{offer_id}/treatments/{treatment_id}",
    responses=problems(404, body=True) | created(TreatmentPublished),
)
async def put_treatment(
    offer_id: Id, treatment_id: Id, body: TreatmentBody, state: State, key: Ops, response: Response
) -> TreatmentPublished:
    """Create or replace a treatment of an offer."""
    if offer_id not in state.current_catalogue().offers:
        await state.refresh()  # another process may just have made it
    _found(state.current_catalogue().offers, "offer", offer_id)
    name = f"{offer_id}/{treatment_id}"
    version = await _put(state, key, response, "treatment", name, body.model_dump())
    return TreatmentPublished(offer_id=offer_id, treatment_id=treatment_id, catalog_version=version)


@router.get("/placements", responses=problems())
async def read_placements(state: State, key: Anyone) -> list[CataloguePlacement]:
    """All placements."""
    return [CataloguePlacement(**asdict(p)) for p in state.current_catalogue().placements.values()]


@router.get("/placements/{placement_id}", responses=problems(404))
async def read_placement(placement_id: Id, state: State, key: Anyone) -> CataloguePlacement:
    """One placement."""
    placement = _found(state.current_catalogue().placements, "placement", placement_id)
    return CataloguePlacement(**asdict(placement))


@router.put("/placements/{placement_id}", responses=problems(body=True) | created(PlacementPublished))
async def put_placement(
    placement_id: Id, body: PlacementBody, state: State, key: Ops, response: Response
) -> PlacementPublished:
    """Create or replace a placement."""
    version = await _put(state, key, response, "placement", placement_id, body.model_dump())
    return PlacementPublished(placement_id=placement_id, catalog_version=version)

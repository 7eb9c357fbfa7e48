"""The catalogue: groups, offers, treatments, placements."""

from dataclasses import asdict

from fastapi import APIRouter, Response

from app.api.body import JsonRoute
from app.api.catalogue.editing import Editing, find_thing
from app.api.catalogue.offer_schemas import CatalogueOffer, OfferBody, OfferPublished
from app.api.catalogue.schemas import (
    CatalogueGroup,
    CataloguePlacement,
    GroupBody,
    GroupPublished,
    PlacementBody,
    PlacementPublished,
    TreatmentBody,
    TreatmentPublished,
)
from app.api.deps import Anyone, State, created, problems
from app.api.schemas import Id
from decisioning.errors import NotFound
from storage import clock

router = APIRouter(prefix="/v1", tags=["catalogue"], route_class=JsonRoute)


@router.get("/groups", responses=problems())
async def read_groups(state: State, key: Anyone) -> list[CatalogueGroup]:
    """All groups."""
    return [CatalogueGroup(**asdict(group)) for group in state.current_catalogue().groups.values()]


@router.get("/groups/{group_id}", responses=problems(404))
async def read_group(group_id: Id, state: State, key: Anyone, response: Response) -> CatalogueGroup:
    """One group."""
    return CatalogueGroup(**asdict(find_thing(state, response, "group", group_id)))


@router.put("/groups/{group_id}", responses=problems(412, body=True) | created(GroupPublished))
async def put_group(group_id: Id, body: GroupBody, edit: Editing) -> GroupPublished:
    """Create or replace a group."""
    version = await edit.put("group", group_id, body.model_dump())
    return GroupPublished(group_id=group_id, catalog_version=version, warnings=edit.warnings)


@router.get("/offers", responses=problems())
async def read_offers(state: State, key: Anyone) -> list[CatalogueOffer]:
    """All offers, with their treatments."""
    now_ms = clock.now_ms()
    return [CatalogueOffer.of(offer, now_ms) for offer in state.current_catalogue().offers.values()]


@router.get("/offers/{offer_id}", responses=problems(404))
async def read_offer(offer_id: Id, state: State, key: Anyone, response: Response) -> CatalogueOffer:
    """One offer, with its treatments."""
    return CatalogueOffer.of(find_thing(state, response, "offer", offer_id), clock.now_ms())


@router.put("/offers/{offer_id}", responses=problems(412, body=True) | created(OfferPublished))
async def put_offer(offer_id: Id, body: OfferBody, edit: Editing) -> OfferPublished:
    """Create or replace an offer. It is live in every process within a second."""
    version = await edit.put("offer", offer_id, body.stored())
    return OfferPublished(offer_id=offer_id, catalog_version=version, warnings=edit.warnings)


@router.delete("/offers/{offer_id}", responses=problems(404, 409, 412))
async def delete_offer(offer_id: Id, edit: Editing) -> OfferPublished:
    """Delete a draft, with its treatments. An offer that was ever published is ended instead: the log refers to it."""
    version = await edit.delete("offer", offer_id)
    return OfferPublished(offer_id=offer_id, catalog_version=version, warnings=edit.warnings)


@router.put(
    "/offers/{offer_id}/treatments/{treatment_id}",
    responses=problems(404, 412, body=True) | created(TreatmentPublished),
)
async def put_treatment(
    offer_id: Id, treatment_id: Id, body: TreatmentBody, state: State, edit: Editing
) -> TreatmentPublished:
    """Create or replace a treatment of an offer."""
    if offer_id not in state.current_catalogue().offers:
        await state.refresh()  # another process may just have made it
    if offer_id not in state.current_catalogue().offers:
        raise NotFound("offer", offer_id)
    name = f"{offer_id}/{treatment_id}"
    version = await edit.put("treatment", name, body.model_dump())
    return TreatmentPublished(
        offer_id=offer_id, treatment_id=treatment_id, catalog_version=version, warnings=edit.warnings
    )


@router.get("/placements", responses=problems())
async def read_placements(state: State, key: Anyone) -> list[CataloguePlacement]:
    """All placements."""
    return [CataloguePlacement(**asdict(p)) for p in state.current_catalogue().placements.values()]


@router.get("/placements/{placement_id}", responses=problems(404))
async def read_placement(
    placement_id: Id, state: State, key: Anyone, response: Response
) -> CataloguePlacement:
    """One placement."""
    return CataloguePlacement(**asdict(find_thing(state, response, "placement", placement_id)))


@router.put("/placements/{placement_id}", responses=problems(412, body=True) | created(PlacementPublished))
async def put_placement(placement_id: Id, body: PlacementBody, edit: Editing) -> PlacementPublished:
    """Create or replace a placement."""
    version = await edit.put("placement", placement_id, body.model_dump())
    return PlacementPublished(placement_id=placement_id, catalog_version=version, warnings=edit.warnings)


@router.delete("/offers/{offer_id}/treatments/{treatment_id}", responses=problems(404, 412))
async def delete_treatment(offer_id: Id, treatment_id: Id, edit: Editing) -> TreatmentPublished:
    """Delete a treatment of an offer."""
    version = await edit.delete("treatment", f"{offer_id}/{treatment_id}")
    return TreatmentPublished(
        offer_id=offer_id, treatment_id=treatment_id, catalog_version=version, warnings=edit.warnings
    )


@router.delete("/placements/{placement_id}", responses=problems(404, 412))
async def delete_placement(placement_id: Id, edit: Editing) -> PlacementPublished:
    """Delete a placement."""
    version = await edit.delete("placement", placement_id)
    return PlacementPublished(placement_id=placement_id, catalog_version=version, warnings=edit.warnings)


@router.delete("/groups/{group_id}", responses=problems(404, 412))
async def delete_group(group_id: Id, edit: Editing) -> GroupPublished:
    """Delete a group that no offer belongs to."""
    version = await edit.delete("group", group_id)
    return GroupPublished(group_id=group_id, catalog_version=version, warnings=edit.warnings)

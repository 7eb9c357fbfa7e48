"""The catalogue: groups, offers, treatments, placements."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic_core import to_json

from app.api.body import JsonRoute
from app.api.catalogue.editing import Editing, Replacing, find_thing, find_treatment
from app.api.catalogue.offer_schemas import (
    BriefOffer,
    CatalogueOffer,
    OfferBody,
    OfferPublished,
    PatchedOffer,
)
from app.api.catalogue.schemas import (
    CatalogueGroup,
    CataloguePlacement,
    CatalogueTreatment,
    GroupBody,
    GroupPublished,
    PatchedGroup,
    PatchedPlacement,
    PatchedTreatment,
    PlacementBody,
    PlacementPublished,
    TreatmentBody,
    TreatmentPublished,
)
from app.api.deps import Reader, State, created, problems
from app.api.merge_patch import MergePatch, check_echoes, merge_patch_of
from app.api.schemas import Id, answer_of
from app.state import ApiState
from decisioning.errors import NotFound
from decisioning.model.entities import Offer
from storage import clock

router = APIRouter(prefix="/v1", tags=["catalogue"], route_class=JsonRoute)

_READ_ONLY = (
    "leave it out; a treatment is changed with PUT or PATCH /v1/offers/{offer_id}/treatments/{treatment_id},"
    " what is inherited with its group and goal, and the effective status follows from status, starts_at and ends_at"
)


@router.get("/groups", responses=problems())
async def read_groups(state: State, key: Reader) -> list[CatalogueGroup]:
    """All groups."""
    return [CatalogueGroup(**asdict(group)) for group in state.current_catalogue().groups.values()]


@router.get("/groups/{group_id}", responses=problems(404))
async def read_group(group_id: Id, state: State, key: Reader, response: Response) -> CatalogueGroup:
    """One group."""
    return CatalogueGroup(**asdict(find_thing(state, response, "group", group_id)))


@router.put("/groups/{group_id}", responses=problems(409, 412, body=True) | created(GroupPublished))
async def put_group(group_id: Id, body: GroupBody, edit: Replacing) -> GroupPublished:
    """Create or replace a group."""
    version = await edit.replace("group", group_id, body)
    return GroupPublished(group_id=group_id, catalog_version=version, warnings=edit.warnings)


@router.patch(
    "/groups/{group_id}", responses=problems(404, 412, body=True), openapi_extra=merge_patch_of({"lever": 20})
)
async def patch_group(group_id: Id, body: MergePatch, edit: Editing) -> PatchedGroup:
    """Change what is named of a group (JSON Merge Patch)."""
    group = await edit.patch("group", group_id, body, GroupBody)
    return PatchedGroup(**asdict(group), warnings=edit.warnings)


@router.get("/offers", response_model=list[CatalogueOffer] | list[BriefOffer], responses=problems())
async def read_offers(
    state: State,
    key: Reader,
    brief: Annotated[
        bool, Query(description="without treatments, rules and whatever else lists do not show")
    ] = False,
) -> Response:
    """All offers, with their treatments; or in brief."""
    now_ms, offers = clock.now_ms(), state.current_catalogue().offers.values()
    found = [BriefOffer.of(o, now_ms) if brief else CatalogueOffer.of(o, now_ms) for o in offers]
    # There may be thousands: each was made by its model, and is not validated against it again.
    return Response(to_json(found), media_type="application/json")


@router.get("/offers/{offer_id}", responses=problems(404))
async def read_offer(offer_id: Id, state: State, key: Reader, response: Response) -> CatalogueOffer:
    """One offer, with its treatments."""
    return CatalogueOffer.of(find_thing(state, response, "offer", offer_id), clock.now_ms())


@router.put("/offers/{offer_id}", responses=problems(409, 412, body=True) | created(OfferPublished))
async def put_offer(offer_id: Id, body: OfferBody, state: State, edit: Replacing) -> OfferPublished:
    """Create or replace an offer. It is live in every process within a second."""
    sent = body.model_dump(include={"treatments", "inherited"}, exclude_none=True)
    if sent:
        await check_as_read(state, offer_id, sent)
    version = await edit.replace("offer", offer_id, body)
    return OfferPublished(offer_id=offer_id, catalog_version=version, warnings=edit.warnings)


@router.patch(
    "/offers/{offer_id}",
    responses=problems(404, 412, body=True),
    openapi_extra=merge_patch_of({"value": 45, "lever": 10}),
)
async def patch_offer(offer_id: Id, body: MergePatch, state: State, edit: Editing) -> PatchedOffer:
    """Change what is named of an offer (JSON Merge Patch): `null` takes away, lists are replaced as a whole.

    Treatments have requests of their own.
    """
    body = {name: value for name, value in body.items() if name != "warnings"}
    read_only = [field for field, echo in OfferBody.echoes().items() if not echo.is_id and field in body]
    if read_only:
        await _find_offer(state, offer_id)
        await check_as_read(state, offer_id, {name: body[name] for name in read_only})
        body = {name: value for name, value in body.items() if name not in read_only}
    offer = await edit.patch("offer", offer_id, body, OfferBody)
    shown = CatalogueOffer.of(offer, clock.now_ms())
    return answer_of(PatchedOffer, shown, warnings=edit.warnings)


@router.delete("/offers/{offer_id}", responses=problems(404, 409, 412))
async def delete_offer(offer_id: Id, edit: Editing) -> OfferPublished:
    """Delete a draft, with its treatments. An offer that was ever published is ended instead: the log refers to it."""
    version = await edit.delete("offer", offer_id)
    return OfferPublished(offer_id=offer_id, catalog_version=version, warnings=edit.warnings)


@router.put(
    "/offers/{offer_id}/treatments/{treatment_id}",
    responses=problems(404, 409, 412, body=True) | created(TreatmentPublished),
)
async def put_treatment(
    offer_id: Id, treatment_id: Id, body: TreatmentBody, state: State, edit: Replacing
) -> TreatmentPublished:
    """Create or replace a treatment of an offer."""
    await _find_offer(state, offer_id)
    name = f"{offer_id}/{treatment_id}"
    version = await edit.replace("treatment", name, body)
    return TreatmentPublished(
        offer_id=offer_id, treatment_id=treatment_id, catalog_version=version, warnings=edit.warnings
    )


@router.patch(
    "/offers/{offer_id}/treatments/{treatment_id}",
    responses=problems(404, 412, body=True),
    openapi_extra=merge_patch_of({"title": "2 % back"}),
)
async def patch_treatment(
    offer_id: Id, treatment_id: Id, body: MergePatch, edit: Editing
) -> PatchedTreatment:
    """Change what is named of a treatment (JSON Merge Patch)."""
    name = f"{offer_id}/{treatment_id}"
    treatment = await edit.patch("treatment", name, body, TreatmentBody)
    return answer_of(PatchedTreatment, treatment, warnings=edit.warnings)


@router.get("/offers/{offer_id}/treatments", responses=problems(404))
async def read_treatments(offer_id: Id, state: State, key: Reader) -> list[CatalogueTreatment]:
    """All treatments of an offer."""
    offer = await _find_offer(state, offer_id)
    return [answer_of(CatalogueTreatment, treatment) for treatment in offer.treatments]


@router.get("/offers/{offer_id}/treatments/{treatment_id}", responses=problems(404))
async def read_treatment(
    offer_id: Id, treatment_id: Id, state: State, key: Reader, response: Response
) -> CatalogueTreatment:
    """One treatment of an offer."""
    return answer_of(CatalogueTreatment, find_treatment(state, response, offer_id, treatment_id))


@router.get("/placements", responses=problems())
async def read_placements(state: State, key: Reader) -> list[CataloguePlacement]:
    """All placements."""
    return [CataloguePlacement(**asdict(p)) for p in state.current_catalogue().placements.values()]


@router.get("/placements/{placement_id}", responses=problems(404))
async def read_placement(
    placement_id: Id, state: State, key: Reader, response: Response
) -> CataloguePlacement:
    """One placement."""
    return CataloguePlacement(**asdict(find_thing(state, response, "placement", placement_id)))


@router.put(
    "/placements/{placement_id}", responses=problems(409, 412, body=True) | created(PlacementPublished)
)
async def put_placement(placement_id: Id, body: PlacementBody, edit: Replacing) -> PlacementPublished:
    """Create or replace a placement."""
    version = await edit.replace("placement", placement_id, body)
    return PlacementPublished(placement_id=placement_id, catalog_version=version, warnings=edit.warnings)


@router.patch(
    "/placements/{placement_id}",
    responses=problems(404, 412, body=True),
    openapi_extra=merge_patch_of({"slots": 2}),
)
async def patch_placement(placement_id: Id, body: MergePatch, edit: Editing) -> PatchedPlacement:
    """Change what is named of a placement (JSON Merge Patch)."""
    placement = await edit.patch("placement", placement_id, body, PlacementBody)
    return PatchedPlacement(**asdict(placement), warnings=edit.warnings)


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


async def _find_offer(state: ApiState, offer_id: str) -> Offer:
    """Find an offer, also one that another process has just made. Raises ``NotFound``."""
    if offer_id not in state.current_catalogue().offers:
        await state.refresh()
    offer = state.current_catalogue().offers.get(offer_id)
    if offer is None:
        raise NotFound("offer", offer_id)
    return offer


async def check_as_read(state: ApiState, offer_id: str, sent: Mapping[str, Any]) -> None:
    """Raise ``Problem`` (422) if what is only read of an offer is sent otherwise than it is in force."""
    await state.refresh()
    offer = state.current_catalogue().offers.get(offer_id)
    shown = {} if offer is None else CatalogueOffer.of(offer, clock.now_ms()).model_dump(mode="json")
    check_echoes(sent, shown, sent, _READ_ONLY)

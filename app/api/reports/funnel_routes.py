"""The route of the funnel of one offer."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.deps import Reader, State, problems
from app.api.reports.funnel_schemas import FunnelQuery, OfferFunnelAnswer
from app.api.schemas import Id
from decisioning.reporting.recent.offer_funnel_service import OfferFunnelService
from decisioning.reporting.recent.store_newest import NewestDecisions
from storage import clock

router = APIRouter(prefix="/v1/reports", tags=["reports"])


@router.get("/offers/{offer_id}/funnel", responses=problems(404))
async def report_offer_funnel(
    offer_id: Id, state: State, key: Reader, query: Annotated[FunnelQuery, Query()]
) -> OfferFunnelAnswer:
    """Tell in how many of the newest decisions an offer was in play, stopped by what, shown and accepted.

    Explained from the archived log, as it was then. It takes at most about five seconds: what was not looked at by then
    is not in `sampled`. Nothing is reserved, logged or learned.
    """
    service = OfferFunnelService(NewestDecisions(state.engine), state.catalogues, clock.now_ms)
    found = await service.of_offer(state.current_catalogue(), offer_id, query.placement, query.sample)
    return OfferFunnelAnswer.model_validate(found, from_attributes=True)

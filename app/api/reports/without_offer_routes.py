"""Routes on customers whom the rules leave without any offer."""

from fastapi import APIRouter

from app.api.body import JsonRoute
from app.api.context import check_context
from app.api.deps import Ops, State, problems
from app.api.reports.without_offer_schemas import WithoutOfferAnswer, WithoutOfferRequest
from decisioning.catalog.compared import context_warnings

router = APIRouter(prefix="/v1/reports", tags=["reports"], route_class=JsonRoute)


@router.post("/without-offer", responses=problems(404, body=True))
async def report_without_offer(body: WithoutOfferRequest, state: State, key: Ops) -> WithoutOfferAnswer:
    """Count the customers who have nothing to be offered at a placement, by the rule that stops most.

    Of a sample of the customers, with the catalogue in force and capacity taken as unlimited; or of the decisions of
    the last 24 hours, explained from the log as they were. Nothing is reserved, logged or learned.
    """
    check_context(body.context, state.settings.context_bytes)
    catalogue = state.current_catalogue()
    if body.of == "sample":
        found = await state.without_offer.of_sample(catalogue, body.placement, body.context, body.sample)
    else:
        found = await state.without_offer.of_last_day(catalogue, body.placement, body.sample)
    warnings = context_warnings(catalogue.checker.vocabulary, body.context)
    answer = found | {"placement": body.placement, "of": body.of, "warnings": warnings}
    return WithoutOfferAnswer.model_validate(answer, from_attributes=True)

"""Visitors who sign in."""

from fastapi import APIRouter

from app.api.body import JsonRoute
from app.api.customers.merge_schemas import MergeAnswer, MergeBody
from app.api.deps import Merger, State, problems
from app.api.paths import CUSTOMER_ID
from app.api.schemas import PathCustomerId

router = APIRouter(prefix="/v1/customers", tags=["customers"], route_class=JsonRoute)


@router.post(f"/{CUSTOMER_ID}/merge", responses=problems(409, body=True))
async def merge_visitor(
    customer_id: PathCustomerId, body: MergeBody, state: State, key: Merger
) -> MergeAnswer:
    """Make a visitor the customer who has signed in. May be repeated: nothing counts twice.

    From then on whatever names the visitor means the customer: events, decisions, and feedback on earlier decisions.
    Contacts count in the customer's limits, and what events told is added up. It cannot be undone. A visitor who is
    another customer already is refused (409).
    """
    merged = await state.merging.merge(customer_id, body.visitor_id, key.name)
    return MergeAnswer(
        status="merged" if merged.fresh else "already_merged",
        visitor_id=merged.visitor,
        customer_id=merged.customer_id,
        merged_at=merged.merged_at,
    )

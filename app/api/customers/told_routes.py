"""Aggregates and interests that a customer's events tell."""

from fastapi import APIRouter

from app.api.customers.told_schemas import ConceptScore, CustomerTold
from app.api.deps import Reader, State, problems
from app.api.paths import CUSTOMER_ID
from app.api.schemas import PathCustomerId
from decisioning.decide.told import told_by
from profiles.events.reading import ranked
from storage import clock
from storage.clock import to_datetime

router = APIRouter(prefix="/v1/customers", tags=["customers"])


@router.get(f"/{CUSTOMER_ID}/told", responses=problems())
async def read_customer_told(customer_id: PathCustomerId, state: State, key: Reader) -> CustomerTold:
    """Read what a customer's events tell now, as the next decision knows it: aggregates, and interests by their rank.

    There need not be a record of the customer, nor an event: counts and sums are 0 then, and what is not known is left
    out. Of a visitor who has signed in, it is what events tell of the customer.
    """
    catalogue, now_ms = state.current_catalogue(), clock.now_ms()
    reading = await state.decision_log.read(customer_id, False, with_events=True)
    if reading.moved is not None:
        reading = await state.decision_log.read(reading.moved, False, with_events=True)
    told = told_by(catalogue.event_definitions, reading.events, now_ms, state.population.current)
    return CustomerTold(
        customer_id=customer_id,
        at=to_datetime(now_ms),
        events=dict(told.events),
        interests=[
            ConceptScore(concept=name, name=catalogue.concepts[name].name, score=score)
            for name, score in ranked(told.interests)
        ],
    )

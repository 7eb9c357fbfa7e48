"""Customers who are searched for by what an agent has of them. It stands in the body, which no log has."""

from typing import Annotated

from fastapi import APIRouter, Depends

from app.api.body import JsonRoute
from app.api.customers.search_schemas import MAX_CUSTOMERS, CustomerFound, CustomersFound, SearchBody
from app.api.deps import State, hidden_from, problems
from app.api.schemas import answer_of
from app.errors import Problem
from app.keys import ApiKey
from app.security import Allow
from profiles.store_identifiers import CustomerSearch

router = APIRouter(prefix="/v1/customers", tags=["customers"], route_class=JsonRoute)

Searcher = Annotated[ApiKey, Depends(Allow("agent", "ops"))]
SEARCHES_PER_MINUTE = 600
"""Of one key or person in one process. A desk that many share asks often; whoever tries all numbers needs more."""


@router.post("/search", responses=problems(429, body=True))
async def find_customers(body: SearchBody, state: State, key: Searcher) -> CustomersFound:
    """Find customers by their id, an alias, or what identifies them, to the letter.

    Attributes that are classified as sensitive are searched for the roles `ops` and `admin` alone.
    """
    wait_s = state.searches.take(key.person, SEARCHES_PER_MINUTE)
    if wait_s:
        refusal = Problem(429, f"this key has searched too often: wait {wait_s} s")
        refusal.headers = {"Retry-After": str(wait_s)}
        raise refusal
    hidden = hidden_from(key, state)
    identifiers = [name for name in state.current_catalogue().identifiers if f"customer.{name}" not in hidden]
    found = await CustomerSearch(state.engine).find(body.text, identifiers, MAX_CUSTOMERS)
    return CustomersFound(
        customers=[answer_of(CustomerFound, hit) for hit in found.customers],
        more=found.more,
        pending=[f"customer.{name}" for name in found.pending],
    )

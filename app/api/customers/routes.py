"""Customers."""

from fastapi import APIRouter, Response

from app.api.body import JsonRoute
from app.api.customers.editing import EditingCustomer, customer_out, send_etag
from app.api.customers.schemas import CustomerBody, CustomerOut, CustomerStored
from app.api.deps import Ops, Reader, State, hidden_from, problems
from app.api.merge_patch import MergePatch, merge_patch_of
from app.api.paths import CUSTOMER_ID
from app.api.removal import ConfirmRemoval, confirmed_words
from app.api.schemas import PathCustomerId
from app.state import ApiState
from decisioning.errors import NotFound
from rules.classification import without

router = APIRouter(prefix="/v1/customers", tags=["customers"], route_class=JsonRoute)


@router.put(f"/{CUSTOMER_ID}", responses=problems(409, 412, body=True))
async def put_customer(
    customer_id: PathCustomerId,
    body: CustomerBody,
    key: Ops,
    edit: EditingCustomer,
    confirm_removal: ConfirmRemoval = None,
) -> CustomerStored:
    """Create or replace a customer. When this answers, no decision uses the earlier record any more.

    A record that lacks attributes, indicators, interests, consents or objections that are known, or all holdings, is
    refused unless it says so, by `If-Match` and `confirm_removal`.
    """
    await edit.put(customer_id, body, confirmed_words(confirm_removal))
    return CustomerStored(customer_id=customer_id)


@router.patch(
    f"/{CUSTOMER_ID}",
    responses=problems(404, 412, body=True),
    openapi_extra=merge_patch_of({"attributes": {"age": 42}, "consents": {"marketing": ["email"]}}),
)
async def patch_customer(
    customer_id: PathCustomerId,
    body: MergePatch,
    state: State,
    key: Ops,
    edit: EditingCustomer,
    response: Response,
) -> CustomerOut:
    """Change what is named of a customer (JSON Merge Patch): `null` takes away, everything else stays as it is."""
    await edit.patch(customer_id, body)
    return await _read(customer_id, state, response)


@router.get(f"/{CUSTOMER_ID}", responses=problems(404))
async def read_customer(
    customer_id: PathCustomerId, state: State, key: Reader, response: Response
) -> CustomerOut:
    """A customer with the precomputed propensities, and the suppression lists that name the customer.

    Of a visitor who has signed in it is the customer, whom `customer_id` names. The role `scientist` is not shown what
    is classified as sensitive.
    """
    found = await _read(await state.profiles.stands_for(customer_id), state, response)
    hidden = hidden_from(key, state)
    if not hidden:
        return found
    kept = {name: without(getattr(found, name), hidden, "customer") for name in ("attributes", "indicators")}
    return found.model_copy(update=kept)


async def _read(customer_id: str, state: ApiState, response: Response) -> CustomerOut:
    profile = await state.profiles.load(customer_id, state.numbers())
    if profile is None:
        raise NotFound("customer", customer_id)
    send_etag(response, profile.customer)
    return customer_out(profile, state)

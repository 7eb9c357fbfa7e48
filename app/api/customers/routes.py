"""Customers."""

from fastapi import APIRouter

from app.api.body import JsonRoute
from app.api.customers.schemas import CustomerBody, CustomerOut, CustomerStored
from app.api.deps import Ops, Reader, State, problems
from app.api.paths import CUSTOMER_ID
from app.api.schemas import PathCustomerId, answer_of
from app.api.suppressions.schemas import SuppressionOut
from decisioning.errors import NotFound
from profiles.consents import join_entries, split_entries, unknown_channel
from profiles.customer import ANY_CHANNEL, Customer, Suppression
from profiles.declared import convert_attributes
from profiles.errors import InvalidCustomer
from storage.clock import to_datetime

router = APIRouter(prefix="/v1/customers", tags=["customers"], route_class=JsonRoute)


@router.put(f"/{CUSTOMER_ID}", responses=problems(body=True))
async def put_customer(
    customer_id: PathCustomerId, body: CustomerBody, state: State, key: Ops
) -> CustomerStored:
    """Create or replace a customer. When this answers, no decision uses the earlier record any more."""
    known = state.current_catalogue().channels if body.objections else frozenset()
    for purpose, channels in body.objections.items():
        # An objection that no decision would look at must not seem to be in force.
        if not known >= set(channels) - {ANY_CHANNEL}:
            raise InvalidCustomer(f"objections.{purpose}", unknown_channel(known))
    customer = Customer(
        customer_id,
        convert_attributes(body.attributes, state.current_catalogue().customer_types),
        body.indicators,
        tuple(body.holdings),
        body.interests,
        join_entries(body.consents, body.objections),
    )
    await state.profiles.upsert_customer(customer)
    return CustomerStored(customer_id=customer_id)


@router.get(f"/{CUSTOMER_ID}", responses=problems(404))
async def read_customer(customer_id: PathCustomerId, state: State, key: Reader) -> CustomerOut:
    """A customer with the precomputed propensities, and the suppression lists that name the customer."""
    profile = await state.profiles.load(customer_id, state.numbers())
    if profile is None:
        raise NotFound("customer", customer_id)
    customer = profile.customer
    # Propensities of offers that are no longer in the catalogue are left out.
    names = {number: offer_id for offer_id, number in state.numbers().items()}
    propensities = zip(profile.offer_nos.tolist(), profile.propensities.tolist(), strict=True)
    consents, objections = split_entries(customer.consents)
    return answer_of(
        CustomerOut,
        customer,
        consents=consents,
        objections=objections,
        propensities={names[number]: score for number, score in propensities if number in names},
        suppressions=[_suppression_out(entry) for entry in customer.suppressions or ()],
    )


def _suppression_out(entry: Suppression) -> SuppressionOut:
    until = None if entry.until_ms is None else to_datetime(entry.until_ms)
    return answer_of(SuppressionOut, entry, until=until, added_at=to_datetime(entry.added_ms))

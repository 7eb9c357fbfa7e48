"""The history of a customer's consents and objections."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.customers.consents_schemas import ConsentRecordOut, ConsentsQuery, CustomerConsents
from app.api.deps import Reader, State, problems
from app.api.paths import CUSTOMER_ID
from app.api.schemas import PathCustomerId, answer_of
from app.state import ApiState
from profiles.consents import split_entries
from profiles.customer import Profile
from profiles.privacy.store_consents import read_consents

router = APIRouter(prefix="/v1/customers", tags=["customers"])


@router.get(f"/{CUSTOMER_ID}/consents", responses=problems())
async def read_customer_consents(
    customer_id: PathCustomerId, state: State, key: Reader, query: Annotated[ConsentsQuery, Query()]
) -> CustomerConsents:
    """A customer's consents and objections: what is in force, and who stated what, when, where and with what proof.

    Of whom nothing is known, both are empty.
    """
    return await consents_of(state, customer_id, query.before, query.limit)


async def consents_of(state: ApiState, customer_id: str, before: int | None, limit: int) -> CustomerConsents:
    """Read what is in force, and a page of the history. Raises ``InvalidCustomer`` and ``PostgresUnavailable``."""
    profile = await state.profiles.load(customer_id, state.numbers()) or Profile.unknown(customer_id)
    found = await read_consents(state.engine, customer_id, before, limit + 1)
    shown = found[:limit]
    consents, objections = split_entries(profile.customer.consents)
    return CustomerConsents(
        customer_id=customer_id,
        consents=consents,
        objections=objections,
        records=[answer_of(ConsentRecordOut, record) for record in shown],
        next=shown[-1].record_id if len(found) > limit else None,
    )

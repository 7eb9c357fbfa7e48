"""A report on the customers who are at a contact limit now."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.api.deps import Reader, State, problems
from app.api.schemas import Parameters, shown
from bandits.intervals import wilson_interval
from decisioning.reporting.recent.contact_limits_service import ContactLimitsService

router = APIRouter(prefix="/v1/reports", tags=["reports"])

_SHARE = {"customers": 120, "share": 0.12, "low": 0.1013, "high": 0.1416}


class LimitsQuery(Parameters):
    """The number of customers that are looked at."""

    sample: int = Field(1_000, ge=1, le=10_000, description="at most so many customers are looked at")


class CustomersAtLimit(BaseModel):
    """Customers of the sample who are at a limit, and their share."""

    customers: int
    share: float | None = Field(description="null if nobody was looked at")
    low: float = Field(description="lower end of the share's 95 % interval")
    high: float


class PolicyAtLimit(CustomersAtLimit):
    """Customers of the sample whom a contact policy keeps from at least one more contact now."""

    policy_id: str
    name: str


class LimitsReport(BaseModel):
    """Customers at a contact limit now, over a sample of all `customers`."""

    model_config = shown(
        {
            "customers": 250_000,
            "looked_at": 1000,
            "any": _SHARE,
            "preferences": {"customers": 0, "share": 0.0, "low": 0.0, "high": 0.0038},
            "policies": [{"policy_id": "weekly", "name": "Three a week"} | _SHARE],
        }
    )

    customers: int = Field(description="how many there are; of more than 100,000, about")
    looked_at: int
    any: CustomersAtLimit = Field(description="at one of `policies` or at `preferences`")
    preferences: CustomersAtLimit = Field(description="at a frequency that they asked for themselves")
    policies: list[PolicyAtLimit] = Field(description="in the order of their ids")


@router.get("/contact-limits", responses=problems())
async def report_contact_limits(
    state: State, key: Reader, query: Annotated[LimitsQuery, Query()]
) -> LimitsReport:
    """Count the customers who are at a contact limit now: of a sample, by their contacts as decisions read them.

    A policy about single offers, groups or goals counts a customer who is at the limit for any of them. A limit of
    households is looked at by the customer's own contacts alone. The limits of single offers are not counted.
    """
    catalogue = state.current_catalogue()
    found, customers = await ContactLimitsService(state.simulations).now(catalogue, query.sample)

    def counted(number: int) -> dict[str, float | None]:
        share, low, high = wilson_interval(number, found.looked_at)
        return {"customers": number, "share": share, "low": low, "high": high}

    policies = [
        {"policy_id": policy_id, "name": catalogue.contact_policies[policy_id].name} | counted(number)
        for policy_id, number in sorted(found.policies.items())
    ]
    report = {
        "customers": customers,
        "looked_at": found.looked_at,
        "any": counted(found.any),
        "preferences": counted(found.preferences),
        "policies": policies,
    }
    return LimitsReport.model_validate(report)

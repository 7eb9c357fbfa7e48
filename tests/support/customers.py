"""A customer with something of everything."""

from profiles.customer import Customer
from profiles.store import ProfileStore


def customer(**changes: object) -> Customer:
    """A customer with a record; ``changes`` may be of wrong types on purpose."""
    fields: dict[str, object] = {
        "customer_id": "c1",
        "attributes": {"age": 41, "city": "Köln", "score": 0.5, "member": True},
        "indicators": {"clv": 120.0},
        "holdings": ("loan",),
        "interests": {"golf": 0.7},
        "consents": {"marketing": ("email", "web"), "service": ("*",), "research": ()},
    }
    return Customer(**(fields | changes))  # type: ignore[arg-type]  # tests give wrong types on purpose


async def store_customer(store: ProfileStore, customer: Customer) -> None:
    """Store a customer's record in place of the earlier one."""
    await store.change_customer(customer.customer_id, lambda before: customer)

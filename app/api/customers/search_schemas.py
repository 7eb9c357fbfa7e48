"""Searches for customers, as they travel."""

from pydantic import BaseModel, ConfigDict, Field

from app.api.schemas import Body, CustomerId, examples, shown

MAX_CUSTOMERS = 20


class SearchBody(Body):
    """What an agent has of a customer."""

    model_config = examples({"text": "+34 600 111 222"})

    text: CustomerId = Field(
        description="an id, the id of a visitor who has signed in, or the value of an attribute that is declared as"
        " `identifier`; it is compared to the letter, without blanks around it"
    )


class CustomerFound(BaseModel):
    """A customer who was found; a visitor who has signed in, as the customer."""

    model_config = ConfigDict(from_attributes=True)

    customer_id: str
    found_by: list[str] = Field(description="`customer_id`, `alias`, or paths of attributes")


class CustomersFound(BaseModel):
    """The customers who were found, the one of this id first. Erased ones are not."""

    model_config = shown(
        {
            "customers": [{"customer_id": "1025", "found_by": ["customer.phone"]}],
            "more": False,
            "pending": [],
        }
    )

    customers: list[CustomerFound] = Field(description=f"at most {MAX_CUSTOMERS}")
    more: bool = Field(description="whether others have it as well, who are not listed")
    pending: list[str] = Field(
        description="attributes that were not searched, since a worker has not made their index yet"
    )

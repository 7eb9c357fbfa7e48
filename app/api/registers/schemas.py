"""Registers, as they travel."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from app.api.schemas import Body, Echo, EchoedId, Instant, Name, examples, shown, storable
from app.api.values import country_code, form

_EXAMPLE = {
    "field": "phone",
    "form": "phone",
    "country_code": "34",
    "reason": "the national register",
    "without_value": "suppress",
}

_READ_ONLY: Any = Field(None, exclude=True, description="as it is read; it is not looked at")

CountryCode = Annotated[str, form(r"^[1-9][0-9]{0,2}$", country_code)]


class RegisterBody(Body):
    """The value of a customer that is looked up in a register, and how the register's hashes were made."""

    model_config = examples(_EXAMPLE | {"salt": "2026-of-the-register"})

    field: Name = Field(
        description="`customer_id`, or the name of the customers' attribute that is looked up"
    )
    form: Literal["id", "email", "phone"] = Field(
        description="how a value is normalised before it is hashed: `id` as it is, `email` in lower case without blanks"
        " around it, `phone` as +34600111222"
    )
    country_code: CountryCode | None = Field(
        None, description="of telephone numbers that are stored without one"
    )
    salt: Annotated[str, StringConstraints(max_length=1000), AfterValidator(storable)] | None = Field(
        None,
        description="stands before the value when it is hashed by SHA-256; no answer shows it. A register that there is"
        " keeps its own if none is sent; of a new one it is needed, and may be empty",
    )
    reason: Name = Field(description="why who is in it must not be contacted; explanations show it")
    without_value: Literal["suppress", "pass"] = Field(
        "suppress",
        description="what becomes of a customer whose record lacks the attribute: nobody knows if they are in it",
    )
    register_id: EchoedId = Field(None, exclude=True)
    entries: Annotated[int | None, Echo()] = _READ_ONLY
    author: Annotated[str | None, Echo()] = _READ_ONLY
    created_at: Annotated[Instant | None, Echo()] = _READ_ONLY


class RegisterOut(BaseModel):
    """A register, with the number of its entries."""

    model_config = shown(
        {"register_id": "do-not-call"}
        | _EXAMPLE
        | {"entries": 1_200_000, "author": "desk", "created_at": "2026-03-08T09:00:00Z"}
    )

    register_id: str
    field: str
    form: Literal["id", "email", "phone"]
    country_code: str | None
    reason: str
    without_value: Literal["suppress", "pass"]
    entries: int
    author: str
    created_at: datetime


class RegistersOut(BaseModel):
    """All registers."""

    model_config = shown({"registers": []})

    registers: list[RegisterOut]

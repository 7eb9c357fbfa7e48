"""Types that the schemas share. Ids are short and plain, times ISO 8601 with a zone, money in the company's unit."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)

from app.api.values import decision_id, form, identifier, word
from decisioning.model.entities import FOREVER_MS
from profiles.customer_id import normal_customer_id
from profiles.limits import MAX_ID_CHARS
from storage.clock import floor_ms, to_datetime

M = TypeVar("M", bound=BaseModel)

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
MAX_MONEY = 1e15
"""A bound of every sum of money, so that they can be added up for ever."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_WITHOUT_ZONE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.,]\d{1,6})?)?", re.ASCII)
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:", re.ASCII)


def storable(value: str) -> str:
    """Return the text itself. Raises ``ValueError`` if Postgres or UTF-8 could not hold it."""
    if "\x00" in value:
        raise ValueError("must not contain NUL characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain half of a surrogate pair") from None
    return value


def _as_text(value: object) -> object:
    if isinstance(value, str) and _WITHOUT_ZONE.fullmatch(value):
        raise ValueError(f"has no time zone: write {value}Z for UTC, or {value}+02:00")
    if isinstance(value, str) and _DATE.fullmatch(value):
        raise ValueError(f"must be a date and time such as 2026-03-01T00:00:00Z: write {value}T00:00:00Z")
    if not isinstance(value, str) or not _DATE_TIME.match(value):
        raise ValueError("must be a date and time such as 2026-03-01T00:00:00Z")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside of the years 1 to 9999") from None


def _decoded(value: str) -> str:
    if "\ufffd" in value:
        raise ValueError("is not UTF-8, percent-encoded")
    return value


Id = Annotated[str, form(ID_PATTERN, identifier)]
CustomerId = Annotated[
    str,
    AfterValidator(normal_customer_id),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS}),
]
PathCustomerId = Annotated[CustomerId, AfterValidator(_decoded)]
DecisionId = Annotated[str, form(r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$", decision_id)]
Text = Annotated[str, StringConstraints(max_length=4000), AfterValidator(storable)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(storable)]
Cel = Annotated[str, StringConstraints(min_length=1, max_length=4000), AfterValidator(storable)]
PlainName = Annotated[str, form(r"^[A-Za-z_][A-Za-z0-9_]{0,63}$", word)]
"""A name that rules can refer to."""
Number = Annotated[float, Field(allow_inf_nan=False)]
Money = Annotated[float, Field(ge=-MAX_MONEY, le=MAX_MONEY, allow_inf_nan=False)]
Worth = Annotated[float, Field(ge=0, le=MAX_MONEY, allow_inf_nan=False)]
Instant = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_in_utc), BeforeValidator(_as_text)]


@dataclass(frozen=True)
class Echo:
    """Marks a field of a body that is only read: it may be sent back as it was read, and is not stored."""

    is_id: bool = False


EchoedId = Annotated[
    str | None,
    Echo(is_id=True),
    Field(description="as it is read; if it is sent, it must be that of the path"),
]

EchoedWarnings = Annotated[
    list[dict[str, Any]] | None,
    Echo(),
    Field(description="as the answer to a PATCH has them; they are not looked at"),
]


class Body(BaseModel):
    """A request body. Unknown fields and values of another type are refused, so that mistakes are noticed."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @classmethod
    def echoes(cls) -> dict[str, Echo]:
        """Return the fields that are only read."""
        found = {name: _echo(info.metadata) for name, info in cls.model_fields.items()}
        return {name: echo for name, echo in found.items() if echo is not None}

    def stored(self) -> dict[str, Any]:
        """Return the form that is kept in the catalogue."""
        return self.model_dump(exclude=set(self.echoes()))


def _echo(metadata: Iterable[Any]) -> Echo | None:
    return next((entry for entry in metadata if isinstance(entry, Echo)), None)


class Parameters(BaseModel):
    """The query of a request. Unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid")


class ReasonQuery(Parameters):
    """Why something is taken away."""

    reason: Annotated[str, AfterValidator(storable)] = Field(
        "", max_length=200, description="for the trail: no personal data"
    )


def examples(*values: Mapping[str, Any]) -> ConfigDict:
    """Configure the model of a body, with examples for the documentation."""
    return ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [dict(v) for v in values]})


def shown(*values: Mapping[str, Any]) -> ConfigDict:
    """Configure the model of an answer, with examples for the documentation."""
    return ConfigDict(json_schema_extra={"examples": [dict(v) for v in values]})


def after(start: str, called: str) -> AfterValidator:
    """Make the check that an end lies after the field ``start``, which callers know as ``called``."""

    def check(value: datetime | None, info: ValidationInfo) -> datetime | None:
        before = info.data.get(start)
        if value is not None and before is not None and value <= before:
            raise ValueError(f"must lie after {called}")
        return value

    return AfterValidator(check)


def answer_of(model: type[M], source: Any, **others: Any) -> M:
    """Make an answer from ``others`` and, for all other fields of the model, what ``source`` has under their names."""
    found = {name: getattr(source, name) for name in model.model_fields if name not in others}
    return model.model_validate(found | others, from_attributes=True)


class DatedBody(Body):
    """The body of something that may begin and end."""

    starts_at: Instant | None = None
    ends_at: Annotated[Instant | None, after("starts_at", "starts_at")] = Field(None, description="exclusive")

    def stored(self) -> dict[str, Any]:
        """Return the form that is kept in the catalogue."""
        times = stored_times(self.starts_at, self.ends_at)
        return self.model_dump(exclude={"starts_at", "ends_at", *self.echoes()}) | times


class WarningOut(BaseModel):
    """Something that is allowed and was probably not meant: the field's path, what is odd about it, and the way out."""

    model_config = ConfigDict(from_attributes=True)

    field: str
    message: str
    way_out: str


class FieldProblem(BaseModel):
    """One field that is not acceptable, and why. ``body`` stands for the body as a whole.

    ``line`` and ``column`` are those in an expression or a text; for a document ``line`` is that of the document, and
    ``entity`` the path of the thing.
    """

    field: str
    reason: str
    entity: str | None = None
    line: int | None = None
    column: int | None = None
    suggestion: str | None = None


class ProblemOut(BaseModel):
    """Problem details (RFC 9457). ``errors`` names fields; it is missing where no field is at fault.

    ``request_id``: the ``X-Request-ID`` of the answer, by which logs know the request.
    """

    model_config = shown(
        {
            "type": "about:blank",
            "title": "Not valid",
            "status": 422,
            "detail": "limit: Input should be less than or equal to 100",
            "errors": [{"field": "limit", "reason": "Input should be less than or equal to 100"}],
            "request_id": "5f0c1b2a9d8e7f60",
        }
    )

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []
    request_id: str | None = None


def stored_times(starts_at: datetime | None, ends_at: datetime | None) -> dict[str, int]:
    """Convert a beginning and an end to the form that the catalogue keeps; open ones are 0 and for ever."""
    return {
        "starts_ms": 0 if starts_at is None else max(floor_ms(starts_at), 0),
        "ends_ms": FOREVER_MS if ends_at is None else floor_ms(ends_at),
    }


def shown_times(starts_ms: int, ends_ms: int) -> dict[str, datetime | None]:
    """Convert back what ``stored_times`` made."""
    return {
        "starts_at": None if starts_ms == 0 else to_datetime(starts_ms),
        "ends_at": None if ends_ms == FOREVER_MS else to_datetime(ends_ms),
    }


def sent_form(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored body as a request sends it: times in place of milliseconds, where they are set."""
    values = dict(body)
    for stored, sent, none in (("starts_ms", "starts_at", 0), ("ends_ms", "ends_at", FOREVER_MS)):
        at_ms = values.pop(stored, none)
        if at_ms != none:
            values[sent] = to_datetime(at_ms).isoformat()
    return values

"""Batches: many items in one body, each of which is answered for itself."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, ValidatorFunctionWrapHandler

from app.errors import field_errors
from decisioning.errors import REFUSALS, Invalid, NotFound, Refusal
from storage.errors import Unavailable
from storage.tasks import each_of

MAX_ITEMS = 1000
MAX_CONCURRENT_ITEMS = 64
"""Of one batch, so that a large one does not crowd out other requests."""

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
A = TypeVar("A")
Item = TypeVar("Item", bound="ItemAnswer")


@dataclass(frozen=True, slots=True)
class MalformedItem:
    """An item that is not what it should be: the first field at fault, and what is wrong with it, and with others."""

    field: str
    reason: str


class ItemAnswer(BaseModel):
    """The answer to one item: a status, or what is wrong with it.

    ``index`` counts from 0. ``code`` is the HTTP status that the item would have had alone, ``field`` the field at
    fault, where there is one.
    """

    index: int
    status: str
    code: int
    field: str | None = None
    reason: str | None = None


class BatchAnswer(BaseModel):
    """Answers in the order of the items. ``refused``: how many of them were not recorded.

    The whole batch may be sent again as often as needed. Only items with code 503 are worth it: what else was refused
    is refused again.
    """

    refused: int


def read_item(model: type[M], value: Any, names: Mapping[str, str] | None = None) -> "M | MalformedItem":
    """Read one item. ``names``: under which the sender knows fields that are wrong, if not under those of ``model``."""
    if isinstance(
        value, MalformedItem
    ):  # it was seen when the body was parsed, and names the field as it was sent
        return value
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = field_errors(error.errors(include_url=False), whole="item")
        told = [(renamed(e["field"], names), e["reason"]) for e in errors[:3]]
        return MalformedItem(told[0][0], "; ".join(f"{field}: {reason}" for field, reason in told))


def renamed(field: str, names: Mapping[str, str] | None) -> str:
    """Return a field, or one below it, by its other name."""
    first, dot, rest = field.partition(".")
    return f"{(names or {}).get(first, first)}{dot}{rest}"


def or_malformed(model: type[BaseModel]) -> Callable[[Any, ValidatorFunctionWrapHandler], Any]:
    """Make the validator of one item: what is wrong with it is kept in its place, and keeps no other from being read.

    ``model``: what an item should be.
    """
    return lambda value, validate: read_item(model, value)


def describe_refusal(error: Refusal, names: Mapping[str, str] | None = None) -> tuple[int, str | None, str]:
    """Return the code of an item that was refused, the field at fault, and the reason. ``names``: see ``read_item``."""
    if isinstance(error, Invalid):
        field = renamed(error.field, names)
        return 422, field, f"{field}: {error}"
    if isinstance(error, Unavailable):
        return 503, None, "could not be stored; send it again"
    return 404 if isinstance(error, NotFound) else 409, None, str(error)


async def answer_item(
    kind: type[Item],
    index: int,
    item: T | MalformedItem,
    record: Callable[[T], Awaitable[str]],
    names: Mapping[str, str] | None = None,
) -> Item:
    """Record one item and answer with its status, or with what is wrong with it. ``names``: see ``read_item``."""
    field: str | None
    if isinstance(item, MalformedItem):
        code, field, reason = 422, item.field, item.reason
    else:
        try:
            return kind(index=index, status=await record(item), code=200)
        except REFUSALS as error:
            code, field, reason = describe_refusal(error, names)
    return kind(index=index, status="refused", code=code, field=field, reason=reason)


async def answer_each(items: Sequence[T], answer: Callable[[int, T], Awaitable[A]]) -> list[A]:
    """Answer each item by its place and itself, some at a time; in the order of the items."""
    numbered = list(enumerate(items))
    return await each_of(numbered, lambda one: answer(*one), MAX_CONCURRENT_ITEMS)

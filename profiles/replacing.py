"""Replacing a customer's record: its version, and what the new one would no longer know."""

from collections.abc import Collection, Iterator
from hashlib import sha256
from typing import Any, NamedTuple

from pydantic_core import to_json

from profiles.consents import split_entries
from profiles.customer import ANY_CHANNEL, OBJECTION, Customer
from profiles.errors import UnconfirmedErasure

ERASED = ("attributes", "indicators", "holdings", "interests", "consents", "objections", "household_id")
"""What a new record may lack of the earlier one; the words that confirm it are the same."""


class Erasure(NamedTuple):
    """The loss of a new record in one field."""

    field: str
    items: tuple[str, ...]


def record_version(customer: Customer) -> str:
    """Return a text that is the same for two records exactly if they know the same."""
    record: list[Any] = [
        sorted(customer.attributes.items()),
        sorted(customer.indicators.items()),
        customer.holdings,
        sorted(customer.interests.items()),
        sorted(customer.consents.items()),
    ]
    if customer.household_id is not None:
        record.append(customer.household_id)
    return sha256(to_json(record, inf_nan_mode="constants")).hexdigest()[:24]


def changes_between(before: Customer | None, after: Customer) -> dict[str, int]:
    """Return in how many places two records differ, by field; without fields that are the same.

    Of the holdings each item is a place, of consents each purpose. ``before``: ``None`` if there was none.
    """
    known = before or Customer.unknown(after.customer_id)
    counts = {
        "holdings": len({*known.holdings} ^ {*after.holdings}),
        "household_id": int(known.household_id != after.household_id),
    }
    for field in ("attributes", "indicators", "interests", "consents"):
        old, new = getattr(known, field), getattr(after, field)
        counts[field] = sum(
            name not in old or name not in new or old[name] != new[name] for name in {**old, **new}
        )
    found = {field: count for field, count in counts.items() if count}
    return found | {"records": 1} if before is None else found


def erasures_between(before: Customer, after: Customer) -> list[Erasure]:
    """Return what ``after`` does not know any more of what ``before`` knew.

    Lost are names of attributes, indicators and interests that are not there any more; holdings if there are none any
    more; consents to a purpose of which nothing is said any more; objections to a channel of which nothing is said; the
    household if there is none any more.
    """
    found = [Erasure(field, tuple(_lost(field, before, after))) for field in ERASED]
    return [erasure for erasure in found if erasure.items]


def check_erasures(
    before: Customer, after: Customer, confirmed: Collection[str], *, version_is_known: bool
) -> None:
    """Raise ``UnconfirmedErasure`` unless all that ``after`` lacks is confirmed, by the name of its field.

    ``version_is_known``: the caller said which record is replaced; without that, nothing is confirmed.
    """
    erasures = erasures_between(before, after)
    missing = [erasure for erasure in erasures if erasure.field not in confirmed]
    if not erasures or (not missing and version_is_known):
        return
    named = [(erasure.field, _shorten(erasure.items)) for erasure in missing or erasures]
    raise UnconfirmedErasure(
        f"customer {before.customer_id!r} would lose {'; '.join(f'{field}: {items}' for field, items in named)}."
        " Nothing was changed: PATCH changes only what it names; to replace the record as a whole, send If-Match with"
        f" the ETag that was read, and ?confirm_removal={','.join(erasure.field for erasure in erasures)}",
        [(field, f"would lose {items}") for field, items in named],
    )


def _lost(field: str, before: Customer, after: Customer) -> Iterator[str]:
    if field == "holdings":
        yield from () if after.holdings else before.holdings
    elif field == "household_id":
        yield from (before.household_id,) if before.household_id and after.household_id is None else ()
    elif field == "consents":
        yield from (purpose for purpose in split_entries(before.consents)[0] if purpose not in after.consents)
    elif field == "objections":
        for purpose, channels in split_entries(before.consents)[1].items():
            stated = after.consents.get(purpose)
            # No entries at all are an objection to all channels.
            if stated == () or OBJECTION + ANY_CHANNEL in (stated or ()):
                continue
            named = {entry.removeprefix(OBJECTION) for entry in stated or ()}
            yield from (f"{purpose} in {channel}" for channel in channels if channel not in named)
    else:
        left = getattr(after, field)
        yield from (name for name in getattr(before, field) if name not in left)


def _shorten(items: Collection[str], most: int = 10) -> str:
    shown = list(items)[:most]
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(item[:100] for item in shown) + more

"""Rows of the roll-up by hour, at random, and what they add up to."""

import random
from collections import Counter
from datetime import datetime, timedelta
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

CLOSED = ("accepted_closed", "rejected_closed", "ignored", "unobserved")
COUNTED = ("decided", "presented_closed", "clicked_closed", *CLOSED)
VALUES = ("value_closed", "value_squares_closed")
COLUMN_OF = {"offer": "offer_id", "placement": "placement", "policy": "policy", "control_group": "grp"}


def random_hours(first: datetime, hours: int, every_h: int = 1) -> list[dict[str, Any]]:
    """Make rows of ``hours`` from ``first`` on, ``every_h`` of them."""
    numbers, rows = random.Random(7), list[dict[str, Any]]()
    keys = product(("gold", "silver", "gone"), ("quick", "branch"), ("a@1", "b@2"), ("champion", "control"))
    for hour, key in product(range(0, hours, every_h), [*keys]):
        row: dict[str, Any] = {"hour": first + timedelta(hours=hour)}
        row |= dict(zip(COLUMN_OF.values(), key, strict=True))
        row |= {name: numbers.randrange(9) for name in COUNTED} | {name: numbers.random() for name in VALUES}
        closed = sum(row[name] for name in CLOSED)
        rows.append(row | {"decided": closed + numbers.randrange(3), "squared_closed": closed})
    return rows


async def insert_hours(engine: AsyncEngine, rows: list[dict[str, Any]]) -> None:
    given = ", ".join(f":{name}" for name in rows[0])
    async with engine.begin() as connection:
        await connection.execute(
            text(f"INSERT INTO acceptance ({', '.join(rows[0])}) VALUES ({given})"), rows
        )


def sums_of(
    rows: list[dict[str, Any]], by: list[str], zone: str = "UTC"
) -> dict[tuple[str, ...], Counter[str]]:
    """The sums of rows by dimensions, one row after the other."""
    sums: dict[tuple[str, ...], Counter[str]] = {}
    for row in rows:
        day = row["hour"].astimezone(ZoneInfo(zone)).date()
        periods = {"day": day, "month": day.replace(day=1), "week": day - timedelta(days=day.weekday())}
        place = tuple(str(periods[name]) if name in periods else row[COLUMN_OF[name]] for name in by)
        sums.setdefault(place, Counter()).update({name: row[name] for name in (*COUNTED, *VALUES)})
    return sums

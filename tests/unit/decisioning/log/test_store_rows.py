"""Records of the log as rows, and back, through a real table."""

import math
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.log.codec import decode_decision, encode_decision
from decisioning.log.store_sql import (
    DECISION_COLUMNS,
    OUTCOME_COLUMNS,
    decision_of_row,
    decision_row,
    outcome_of_row,
    outcome_row,
)
from decisioning.model.decision import LoggedDecision
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from storage.postgres import make_engine, transaction
from tests.support.decided import decision
from tests.support.logged import ACCEPTED

ONE = np.array([7], np.uint32), np.array([0.25], np.float32)
FACTORS = np.array([[1.0], [40.0]])
BARE = LoggedDecision(3, StreamPosition("9-1"), decision(), *ONE)


@pytest.fixture
async def engine(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    """This module's database."""
    made = make_engine(postgres_url, pool_size=1)
    yield made
    await made.dispose()


async def stored(engine: AsyncEngine, table: str, columns: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    """The row as the database gives it back; it is not kept."""
    async with transaction(engine) as connection:
        await connection.execute(
            text(f"CREATE TEMP TABLE kept (LIKE {table} INCLUDING DEFAULTS) ON COMMIT DROP")
        )
        raw = await connection.get_raw_connection()
        assert raw.driver_connection is not None
        await raw.driver_connection.copy_records_to_table("kept", records=[values], columns=list(columns))
        shown = (
            "*"
            if table == "outcomes"
            else "bucket, position, header::text AS header, candidates, priors, factors"
        )
        return (await connection.execute(text(f"SELECT {shown} FROM kept"))).one()


@pytest.mark.parametrize(
    "outcome",
    [
        ACCEPTED,
        structs.replace(
            ACCEPTED, estimate=math.nan, worth=math.nan, facts={}, reward=None, value=12.5, late=True
        ),
    ],
)
async def test_outcomes_come_back_as_they_were(engine: AsyncEngine, outcome: Outcome) -> None:
    row = await stored(engine, "outcomes", OUTCOME_COLUMNS, outcome_row(outcome))
    found = outcome_of_row(row)
    for name in ("estimate", "worth"):
        kept, was = getattr(found, name), getattr(outcome, name)
        assert kept == was or (math.isnan(kept) and math.isnan(was))
    assert structs.replace(found, estimate=0.0, worth=0.0) == structs.replace(
        outcome, estimate=0.0, worth=0.0
    )


@pytest.mark.parametrize("factors", [None, FACTORS])
async def test_decisions_come_back_as_they_were(engine: AsyncEngine, factors: Any) -> None:
    logged = replace(BARE, factors=factors)
    found = decision_of_row(await stored(engine, "decisions", DECISION_COLUMNS, decision_row(logged)))
    assert (found.decision, found.bucket, found.position) == (logged.decision, 3, "9-1")
    np.testing.assert_array_equal(found.candidates, logged.candidates)
    np.testing.assert_array_equal(found.base_propensities, logged.base_propensities)
    if factors is None:
        assert found.factors is None
    else:
        assert found.factors is not None
        np.testing.assert_array_equal(found.factors, factors)


def test_a_field_that_only_a_later_version_knows_is_archived_too() -> None:
    later = encode_decision(BARE.decision)[:-1] + b',"of_tomorrow":1}'
    logged = replace(BARE, decision=decode_decision(later), encoded=later)
    assert later.decode() in decision_row(logged)
    assert encode_decision(BARE.decision).decode() in decision_row(BARE)

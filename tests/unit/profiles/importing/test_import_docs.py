"""docs/importing.md says what the code does."""

import json
import re
from pathlib import Path

import pytest

from profiles import consents, declared
from profiles.customer_id import HAS_CONTROL
from profiles.importing import history, propensities
from profiles.importing.columns import DATE_OUT_OF_RANGE, NOT_A_DATE
from profiles.importing.csv_source import BLOCK_BYTES
from profiles.importing.problems import MAX_REFUSALS
from profiles.importing.run import (
    ImportRun,
    open_customers,
    open_history,
    open_propensities,
    open_suppressions,
)
from profiles.limits import (
    EMPTY,
    HAS_NUL,
    MAX_ENTRIES,
    MAX_ID_CHARS,
    MAX_TEXT_CHARS,
    NOT_A_NUMBER,
    NOT_FINITE,
    too_long,
)
from profiles.store_bulk import MAX_CUSTOMERS

PAGE = (Path(__file__).parents[4] / "docs" / "importing.md").read_text()
OFFERS = ["gold-card", "travel-insurance"]


def example(heading: str) -> bytes:
    """The CSV below a heading."""
    found = re.search(rf"^### {heading}\n.*?```csv\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1].encode()


@pytest.mark.parametrize(
    "run",
    [
        open_customers(example("Customers"), "csv"),
        open_propensities(example("Propensities"), OFFERS, "csv"),
        open_history(example("History"), OFFERS, "csv"),
        open_suppressions(example("Suppressions"), lambda _: None, "csv"),
    ],
    ids=lambda run: run.kind,
)
def test_the_examples_can_be_imported(run: ImportRun) -> None:
    assert sum(batch.num_rows for batch in run.batches()) == run.rows_total == 3
    assert run.report().refusals == ()


def test_the_example_of_customers_means_what_it_says() -> None:
    (batch,) = open_customers(example("Customers"), "csv").batches()
    first = batch.to_pylist()[0]
    assert json.loads(first["attributes"]) == {"age": 41, "city": "Köln", "loyal": True}
    assert json.loads(first["consents"]) == {"marketing": ["email", "web"]}


@pytest.mark.parametrize(
    "reason",
    [
        EMPTY,
        HAS_NUL,
        NOT_FINITE,
        too_long(MAX_ID_CHARS),
        too_long(MAX_TEXT_CHARS),
        NOT_A_NUMBER,
        NOT_A_DATE.partition(":")[0],
        DATE_OUT_OF_RANGE.partition(" (")[0],
        propensities.UNKNOWN_OFFER,
        propensities.OUT_OF_RANGE,
        history.NOT_AN_OUTCOME,
        history.TOO_EARLY,
        history.TOO_LARGE,
        consents.NOT_CHANNELS.partition(":")[0],
        consents.unknown_channel(()).partition(" (")[0],
        consents.CONTRADICTS,
        HAS_CONTROL,
        declared.NOT_TEXT.partition(",")[0],
        declared.NOT_WHOLE.partition(",")[0],
        declared.INEXACT.partition(",")[0],
        declared.NOT_TRUE_OR_FALSE.partition(",")[0],
        declared.NOT_AN_INSTANT.partition(",")[0],
        declared.IS_A_LIST.partition(",")[0],
        consents.NONE_AND_MORE.partition(":")[0],
        f"has more than {MAX_ENTRIES} items",
    ],
)
def test_every_reason_is_listed(reason: str) -> None:
    assert reason in PAGE


def test_the_numbers_are_right() -> None:
    for fact in (
        f"first {MAX_REFUSALS:,} refused cells",
        f"no row above {BLOCK_BYTES >> 20} MiB",
        f"at most {MAX_CUSTOMERS:,} customers",
    ):
        assert fact in re.sub(r"\s+", " ", PAGE)

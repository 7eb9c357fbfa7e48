"""Rows of exported decisions: probability, candidates, and what came of each offer."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from msgspec import structs

from decisioning.exporting.decision_rows import fact_rows, offer_rows, outcome_row
from decisioning.exporting.schema import COLUMNS, KINDS, ExportKind, schema_of
from decisioning.model.decision import DecidedOffer, LoggedDecision, LoggedFactors, LoggedPolicy
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from tests.support.decided import NOW_MS, decision
from tests.support.logged import ACCEPTED, catalogue_of, selection_context

NAMES = {2: "o2", 3: "o3", 5: "o5"}


def logged(**fields: Any) -> LoggedDecision:
    """Two slots: o3, then o2; o5 was a candidate as well."""
    offers = tuple(
        DecidedOffer(f"o{n}", rank, 0.5, LoggedFactors(P=0.25, V=2.0), probability)
        for rank, (n, probability) in enumerate([(3, 0.6), (2, 0.5)], start=1)
    )
    made = decision(
        offers=offers, numbers=(3, 2), slots=2, facts={"customer.age": 44, "context.ok": True}, **fields
    )
    bases = np.array([0.1, np.nan, 0.5], np.float32)
    return LoggedDecision(0, StreamPosition("1-0"), made, np.array([2, 3, 5], np.uint32), bases)


def told(offer: int, outcome: str, reward: float | None, **fields: Any) -> Outcome:
    """An outcome of the decision."""
    of = {"decision_id": "d1", "decided_at_ms": NOW_MS, "offer": offer, "offer_id": f"o{offer}"}
    made: dict[str, Any] = of | {"outcome": outcome, "reward": reward, "recorded_ms": NOW_MS + 5} | fields
    return structs.replace(ACCEPTED, **made)


def rows_of(*outcomes: Outcome, **fields: Any) -> list[dict[str, Any]]:
    """The rows of the decision with its catalogue."""
    context = selection_context(catalogue_of([2, 3, 5]).view("home"), "d1", NOW_MS)
    return offer_rows(logged(**fields), outcomes, NAMES, context)


def test_each_slot_is_a_row_with_the_candidates_that_were_left_for_it() -> None:
    first, second = rows_of()
    assert (first["rank"], first["offer_id"], first["probability"]) == (1, "o3", 0.6)
    assert first["candidates"] == ["o2", "o3", "o5"]
    assert first["candidate_propensities"] == [pytest.approx(0.1), None, 0.5]
    assert first["candidate_weights"] == first["candidate_values"] == [1.0, 1.0, 1.0]
    assert (second["rank"], second["candidates"]) == (2, ["o2", "o5"])
    assert second["base_propensity"] == pytest.approx(0.1)
    assert first["base_propensity"] is None
    assert (first["factor_p"], first["factor_v"]) == (0.25, 2.0)
    assert msgspec.json.decode(first["facts"]) == {"customer.age": 44, "context.ok": True}
    assert set(first) == {name for name, *_ in COLUMNS["decisions"]}


@pytest.mark.parametrize(
    ("outcomes", "said", "reward", "closed"),
    [
        ([], None, None, False),
        ([("accepted", 1.0, {})], "accepted", 1.0, False),
        ([("rejected", 0.0, {}), ("closed", 0.0, {"late": True})], "rejected", 0.0, True),
        ([("expired", 0.0, {})], "ignored", 0.0, True),
        ([("expired", None, {})], "unobserved", None, True),
        ([("accepted", None, {"late": True}), ("closed", None, {"late": True})], "ignored", 0.0, True),
        ([("withdrawn", None, {})], "withdrawn", None, True),
    ],
)
def test_what_came_of_an_offer(
    outcomes: list[tuple[str, float | None, dict[str, Any]]],
    said: str | None,
    reward: float | None,
    closed: bool,
) -> None:
    row = rows_of(*(told(3, kind, r, **more) for kind, r, more in outcomes))[0]
    assert (row["outcome"], row["reward"], row["closed"]) == (said, reward, closed)
    assert (row["reward_at"] is None) == (reward is None)


def test_a_catalogue_that_lacks_a_candidate_leaves_weights_open() -> None:
    row = offer_rows(logged(), [], {2: "o2"}, None)[0]
    assert row["candidate_weights"] is None
    assert row["candidates"] == ["o2", "#3", "#5"]


def test_imported_history_is_closed_and_has_no_probability() -> None:
    made = logged(policy=LoggedPolicy("history", 1), source="history")
    row = offer_rows(made, [], NAMES, None)[0]
    assert (row["group"], row["closed"]) == ("imported", True)


def test_rows_fit_their_schemas() -> None:
    for kind, rows in (
        ("decisions", rows_of(told(3, "accepted", 1.0, value=40.0))),
        ("features", fact_rows(logged())),
        ("outcomes", [outcome_row(ACCEPTED)]),
    ):
        schema = schema_of(kind)  # type: ignore[arg-type]
        table = pa.Table.from_pylist(rows, schema=schema)
        assert table.num_rows == len(rows)
        assert {name for row in rows for name in row} == set(schema.names)
    age, ok = reversed(fact_rows(logged()))
    assert (age["path"], age["number"], age["text"]) == ("customer.age", 44.0, "44")
    assert (ok["path"], ok["number"], ok["text"]) == ("context.ok", 1.0, "true")


def test_every_column_says_what_it_means() -> None:
    for kind in KINDS:
        for column in schema_of(kind):
            assert len(column.metadata[b"description"]) > 5


@pytest.mark.parametrize("kind", KINDS)
def test_the_docs_list_every_column_with_its_meaning(kind: ExportKind) -> None:
    text = (Path(__file__).resolve().parents[4] / "docs" / "export.md").read_text(encoding="utf-8")
    section = text.partition(f"### {kind}\n")[2].partition("\n##")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert [(row[0].strip("| `"), row[-1].rstrip("| ")) for row in rows] == [
        (name, meaning) for name, _, meaning in COLUMNS[kind]
    ]

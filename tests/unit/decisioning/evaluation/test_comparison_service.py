"""The comparison of a placement's policies, of rows as the log would give them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from bandits.policy import Policy, PolicySpec
from bandits.registry import build_policy
from decisioning.catalog.catalogue import Catalogue
from decisioning.errors import NotFound
from decisioning.evaluation.comparison_service import IMITATES_NOTES, OTHERWISE_NOTES, compare
from decisioning.evaluation.store_comparison import Window
from decisioning.model.deployment import Canary, Deployment
from decisioning.model.entities import Placement

DAY = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window("home", DAY, DAY + timedelta(days=9), 1000, False)
THOMPSON, DICE, APPRENTICE = (
    build_policy(PolicySpec("p", 1, name)) for name in ("thompson", "random", "apprentice")
)


@dataclass
class Reader:
    """A window of the log: rows by group, and judged slots by policy."""

    judged_rows: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    groups: Sequence[dict[str, Any]] = ()

    async def by_group(self, window: Window) -> list[dict[str, Any]]:
        assert window == WINDOW
        return list(self.groups)

    async def judged(self, window: Window, policy: str) -> list[dict[str, Any]]:
        return list(self.judged_rows.get(policy, ()))


def slot(n: int, **fields: Any) -> dict[str, Any]:
    """A judged slot of decision ``n``, drawn with 1/2 by whoever decided."""
    row = {
        "decided_at": DAY + timedelta(hours=n),
        "decision_id": f"d{n}",
        "rank": 1,
        "probability": 0.5,
        "chance": 0.5,
        "estimate": 0.2,
        "direct": 0.2,
        "best_no": 1,
        "offer_no": 1,
        "unusable": None,
        "narrowed": False,
        "took_us": 100,
        "error": None,
        "reward": 0.0,
        "known": False,
        "closed": True,
    }
    return row | fields


async def compared(
    reader: Any, deployment: Deployment, policies: Mapping[str, Policy] | None = None
) -> dict[str, Any]:
    """The report on the placement ``home``."""
    shop = Catalogue(1, placements={"home": Placement("home", "web")}, deployments={"home": deployment})
    return await compare(shop, WINDOW, reader, policies or {})


async def test_every_policy_that_was_asked_has_its_role() -> None:
    deployment = Deployment("home", "boss@1", Canary("new@2", 0.1, 0), shadows=("a@1",), apprentice=True)
    found = await compared(Reader(), deployment)
    assert {s["policy"]: s["role"] for s in found["shadows"]} == {
        "a@1": "shadow",
        "new@2": "canary",
        "boss@1": "apprentice",
    }
    assert found["apprentice"]["policy"] == "boss@1"
    alone = await compared(Reader(), Deployment("home", "boss@1"))
    assert (alone["shadows"], alone["apprentice"], alone["slots"]) == ([], None, "all")


async def test_a_placement_that_is_not_there() -> None:
    with pytest.raises(NotFound, match="home"):
        await compare(Catalogue(1), WINDOW, cast(Any, Reader()), {})


async def test_groups_have_rates_of_what_was_observed() -> None:
    counts = {"decisions": 9, "failures": 1, "shown": 8, "open": 2, "observed": 4, "accepted": 1.0}
    found = await compared(
        Reader(groups=[{"group": "champion", "policy": "a@1", **counts}]), Deployment("home")
    )
    (row,) = found["deciding"]
    assert row["acceptance"]["value"] == 0.25
    assert row["acceptance"]["low"] < 0.25 < row["acceptance"]["high"]


async def test_what_cannot_be_used_is_counted_by_its_reason_and_nowhere_else() -> None:
    rows = [
        slot(1, best_no=2),
        slot(1, rank=2, reward=None, took_us=900),
        slot(2, unusable="caller", narrowed=True),
        slot(3, reward=None, unusable="caller", best_no=9),
        slot(4, error="ValueError: x", rank=0),
        slot(5, error="slow", rank=0),
        slot(6, error="slow", rank=0),
    ]
    (found,) = (await compared(Reader({"a@1": rows}), Deployment("home", shadows=("a@1",))))["shadows"]
    assert (found["decisions"], found["judged"], found["agreement"]) == (6, 4, 0.5)
    assert [(row["reason"], row["slots"]) for row in found["left_out"]] == [("caller", 2), ("unobserved", 1)]
    assert all(row["meaning"] for row in found["left_out"])
    assert [(row["reason"], row["decisions"]) for row in found["failures"]] == [
        ("slow", 2),
        ("ValueError: x", 1),
    ]
    assert (found["mean_us"], found["estimates"]["rows"]) == (100.0, 1)


async def test_a_shadow_that_would_have_done_the_same_earns_the_same() -> None:
    rows = [slot(n, reward=float(n % 3 == 0)) for n in range(60)]
    (found,) = (await compared(Reader({"a@1": rows}), Deployment("home", shadows=("a@1",))))["shadows"]
    estimates = found["estimates"]
    assert estimates["mean_weight"] == 1.0
    assert estimates["earned"]["value"] == estimates["ips"]["value"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("policy", "warned"), [(THOMPSON, True), (DICE, False), (None, False)])
async def test_a_learner_that_knew_the_outcome_is_too_good(policy: Policy | None, warned: bool) -> None:
    rows = [slot(n, known=n < 3) for n in range(20)]
    policies = {} if policy is None else {"a@1": policy}
    (found,) = (await compared(Reader({"a@1": rows}), Deployment("home", shadows=("a@1",)), policies))[
        "shadows"
    ]
    assert any("In 3 of 20 slots the outcome was known" in text for text in found["warnings"]) == warned


async def test_without_any_row_nothing_is_claimed() -> None:
    (found,) = (await compared(Reader(), Deployment("home", shadows=("a@1",))))["shadows"]
    assert (found["agreement"], found["mean_us"], found["estimates"]) == (None, None, None)


async def test_an_apprentice_is_judged_on_the_callers_own_choices_alone() -> None:
    rows = [
        slot(1, unusable="caller", chance=0.75, reward=1.0),
        slot(2, unusable="caller", chance=0.25, best_no=2),
        slot(30, unusable="caller", chance=0.5, reward=None),
        slot(31),
        slot(32, unusable="caller", error="slow"),
    ]
    deployment = Deployment("home", "a@1", apprentice=True)
    found = (await compared(Reader({"a@1": rows}), deployment, {"a@1": APPRENTICE}))["apprentice"]
    assert (found["slots"], found["same_choice"], found["imitates"]) == (3, 0.5, True)
    assert found["agreement"]["value"] == pytest.approx(2 / 3)
    assert (found["agrees"]["observed"], found["agrees"]["accepted"]) == (1, 1.0)
    assert (found["differs"]["observed"], found["differs"]["accepted"]) == (1, 0.0)
    assert [(day["day"], day["slots"]) for day in found["days"]] == [("2026-03-01", 2), ("2026-03-02", 1)]
    assert set(IMITATES_NOTES) <= set(found["notes"])
    other = (await compared(Reader(), deployment, {"a@1": THOMPSON}))["apprentice"]
    assert set(OTHERWISE_NOTES) <= set(other["notes"])
    unknown = (await compared(Reader(), deployment))["apprentice"]
    assert (unknown["imitates"], unknown["same_choice"]) == (None, None)
    assert not {*IMITATES_NOTES, *OTHERWISE_NOTES} & set(unknown["notes"])

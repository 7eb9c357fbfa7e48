"""The report on a hold-out divided by the customers' first decisions, against differences computed by hand."""

import csv
import io
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from typing import Any

import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from scipy import stats
from sqlalchemy import text

from decisioning.decide.policy_runner import assign_holdouts
from decisioning.holdouts.holdout import Holdout
from decisioning.reporting import store_holdout_report
from decisioning.reporting.store_asked_days import AskedDays
from storage import clock
from tests.support.api import Nextbest, decide, problem_of, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL = Holdout("all", 0.4)
ONE = "/v1/reports/holdout/all"
OTHER = {"home": "call", "call": "home"}
TODAY = clock.to_datetime(clock.now_ms()).date()
DAYS = [TODAY - timedelta(days=2), TODAY - timedelta(days=1)]
TIMES = [
    datetime.combine(DAYS[0], time(23, 30), UTC),  # the next day in Madrid
    datetime.combine(DAYS[1], time(12), UTC),
]


@dataclass(frozen=True)
class Someone:
    """A customer: when and where they first asked, what they earn, and how many orders they made."""

    customer_id: str
    held_out: bool
    day: int
    placement: str
    income: float
    orders: int


_IDS = [f"customer-{n}" for n in range(60)]
_HELD = iter([c for c in _IDS if assign_holdouts(c, [ALL], 0)])
_TREATED = iter([c for c in _IDS if not assign_holdouts(c, [ALL], 0)])
PEOPLE = [
    Someone(next(_TREATED), False, 0, "home", 9000, 3),
    Someone(next(_TREATED), False, 0, "home", 1000, 1),
    Someone(next(_TREATED), False, 1, "home", 5000, 2),
    Someone(next(_TREATED), False, 1, "call", 1000, 6),
    Someone(next(_TREATED), False, 1, "call", 5000, 2),
    Someone(next(_HELD), True, 0, "home", 5000, 1),
    Someone(next(_HELD), True, 1, "home", 1000, 0),
    Someone(next(_HELD), True, 0, "call", 9000, 4),
    Someone(next(_HELD), True, 1, "call", 1000, 2),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def groups(shop: Nextbest) -> dict[str, bool]:
    """Customers of both sides who ask on two days in two placements; whether each first decision was a control's."""
    api, groups = shop.api, {}
    call = {"channel": "agent", "slots": 1, "control_share": 0.5, "deadline_ms": 5000}
    await api.ok("PUT", "/v1/placements/call", json=call)
    script = {"channel": "agent", "language": "en", "title": "Gold"}
    await api.ok("PUT", "/v1/offers/gold/treatments/script", json=script)
    await api.ok("PATCH", "/v1/placements/home", json={"control_share": 0.5})
    await api.ok("PUT", "/v1/event-types/order", json={"name": "Order"})
    await api.ok("PUT", "/v1/attributes/customer.income", json={"type": "number"})
    for name, least in (("wealthy", 4000), ("rich", 8000)):
        await api.ok("PUT", f"/v1/segments/{name}", json={"when": f"customer.income > {least}.0"})
    await api.ok(
        "PUT", "/v1/holdouts/all", json={"name": "", "share": ALL.share, "events": [{"event": "order"}]}
    )
    orders = count()
    moved: list[tuple[str, datetime]] = []
    for one in PEOPLE:
        body: dict[str, Any] = {"attributes": {"income": one.income}}
        await api.ok("PUT", f"/v1/customers/{one.customer_id}", json=body)
        first = await decide(api, one.customer_id, one.placement)
        assert bool(first["offers"]) is not one.held_out
        groups[one.customer_id] = first["control"]
        if first["offers"]:
            told = first["decision_id"], first["offers"][0]["offer_id"], "accepted"
            await tell(api, *told, value=10)
        later = await decide(api, one.customer_id, OTHER[one.placement])
        again = await decide(api, one.customer_id, OTHER[one.placement])
        at = TIMES[one.day]
        moved += [(first["decision_id"], at), (later["decision_id"], at + timedelta(minutes=5))]
        moved.append((again["decision_id"], TIMES[1] + timedelta(hours=1)))
        for _ in range(one.orders):
            event = {"event_id": f"order-{next(orders)}", "customer_id": one.customer_id, "type": "order"}
            await api.ok("POST", "/v1/events", json=event, role="frontend")
    await shop.worker.drain()
    await shop.worker.expire(ahead_s=7 * 86_400)
    await shop.worker.drain()
    async with api.state.engine.begin() as connection:
        for table in ("decisions", "outcomes"):
            for decision_id, at in moved:
                change = f"UPDATE {table} SET decided_at = :at WHERE decision_id = :id"
                await connection.execute(text(change), {"at": at, "id": decision_id})
        # Its changes are a trail, which a trigger keeps as it is.
        for statement in (
            "ALTER TABLE catalog_entries DISABLE TRIGGER USER",
            "UPDATE catalog_entries SET changed_at = changed_at - interval '9 days'",
            "ALTER TABLE catalog_entries ENABLE TRIGGER USER",
        ):
            await connection.execute(text(statement))
    return groups


async def parts_of(shop: Nextbest, by: str, more: str = "") -> dict[Any, Any]:
    """Of each part: how many were treated and held out, and the difference of orders for each customer."""
    found = await shop.api.ok("GET", f"{ONE}?by={by}{more}", role="scientist")
    assert found["by"] == by
    return {
        row[by]: (row["treated"], row["held_out"], measure_of(row, "order")["difference"])
        for row in found["rows"]
    }


def measure_of(row: dict[str, Any], name: str) -> dict[str, Any]:
    """One measure of a row."""
    found: dict[str, Any] = next(one for one in row["measures"] if one["measure"] == name)
    return found


@pytest.mark.usefixtures("groups")
async def test_two_placements_have_the_differences_of_those_who_first_asked_there(shop: Nextbest) -> None:
    # At home (3 + 1 + 2) / 3 against (1 + 0) / 2, in calls (6 + 2) / 2 against (4 + 2) / 2.
    assert await parts_of(shop, "placement") == {"call": (2, 2, 1.0), "home": (3, 2, 1.5)}
    assert await parts_of(shop, "channel") == {"agent": (2, 2, 1.0), "web": (3, 2, 1.5)}
    found = await shop.api.ok("GET", f"{ONE}?by=placement")
    home = found["rows"][1]
    accepted = measure_of(home, "acceptances")
    assert (accepted["treated_total"], accepted["held_out_total"]) == (3.0, 0.0)
    assert (measure_of(home, "value")["difference"], home["open"]) == (10.0, 0)
    assert [warning["code"] for warning in home["warnings"]] == ["few"]
    expected = stats.ttest_ind([3, 1, 2], [1, 0], equal_var=False).confidence_interval(0.95)
    order = measure_of(home, "order")
    assert (order["difference_low"], order["difference_high"]) == pytest.approx((expected.low, expected.high))
    whole = await shop.api.ok("GET", ONE)
    assert {"by", "rows"}.isdisjoint(whole)
    assert {name: found[name] for name in whole} == whole | {"counted_to": found["counted_to"]}
    assert (whole["treated"], whole["held_out"]) == (5, 4)


@pytest.mark.usefixtures("groups")
async def test_two_days_are_cohorts_of_the_time_zone(shop: Nextbest) -> None:
    # (3 + 1) / 2 against (1 + 4) / 2, then (2 + 6 + 2) / 3 against (0 + 2) / 2.
    first, second = map(str, DAYS)
    assert await parts_of(shop, "day") == {first: (2, 2, -0.5), second: (3, 2, pytest.approx(7 / 3))}
    whole = (5, 4, pytest.approx(14 / 5 - 7 / 4))
    assert await parts_of(shop, "day", "&time_zone=Europe/Madrid") == {second: whole}
    monday = DAYS[1] - timedelta(days=DAYS[1].weekday())
    assert str(monday) in await parts_of(shop, "week")
    assert str(DAYS[1].replace(day=1)) in await parts_of(shop, "month")
    # Who asked again within the days that are left counts by what is their first decision there.
    assert await parts_of(shop, "placement", f"&since={second}") == {
        "call": (4, 2, 1.5),  # (3 + 1 + 6 + 2) / 4 against (1 + 2) / 2
        "home": (1, 2, 0.0),  # 2 against (0 + 4) / 2
    }


@pytest.mark.usefixtures("groups")
async def test_segments_are_known_of_those_who_are_held_out_too(shop: Nextbest) -> None:
    assert await parts_of(shop, "segment") == {
        "rich": (1, 1, -1.0),
        "wealthy": (3, 2, pytest.approx(7 / 3 - 5 / 2)),  # the rich among them
        None: (2, 2, 2.5),
    }


async def test_groups_are_those_of_both_sides(shop: Nextbest, groups: dict[str, bool]) -> None:
    found = await parts_of(shop, "control_group")
    assert found.keys() == {"champion", "control"}
    for group, (treated, held_out, _) in found.items():
        own = [one for one in PEOPLE if groups[one.customer_id] == (group == "control")]
        assert treated == sum(not one.held_out for one in own)
        assert held_out == sum(one.held_out for one in own)


@pytest.mark.usefixtures("groups")
async def test_as_a_file_each_measure_of_each_part_is_a_row(shop: Nextbest) -> None:
    rows = (await shop.api.ok("GET", f"{ONE}?by=day"))["rows"]
    answer = await shop.api.call("GET", f"{ONE}?by=day&format=csv")
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [*table[0]][:6] == ["day", "measure", "treated", "held_out", "sample_ratio_p", "open"]
    assert [line["measure"] for line in table] == ["acceptances", "value", "order"] * 2
    assert table[5]["day"] == str(DAYS[1])
    assert float(table[5]["difference"]) == pytest.approx(7 / 3)
    answer = await shop.api.call("GET", f"{ONE}?by=day&format=parquet")
    lines = pq.read_table(io.BytesIO(answer.content)).to_pylist()
    expected = [
        {"day": date.fromisoformat(row["day"])}
        | {name: row[name] for name in ("treated", "held_out", "sample_ratio_p", "open")}
        | measure
        for row in rows
        for measure in row["measures"]
    ]
    assert lines == expected


@pytest.mark.parametrize(
    ("by", "way_out"),
    [
        *((one, "declare a hold-out of that goal") for one in ("offer", "group", "goal", "treatment")),
        ("policy", "by=control_group"),
        ("day,placement", "ask once for each"),
        ("colour", "placement"),
    ],
)
@pytest.mark.usefixtures("groups")
async def test_what_one_side_has_not_is_refused_with_the_way_out(
    shop: Nextbest, by: str, way_out: str
) -> None:
    problem = problem_of(await shop.api.call("GET", f"{ONE}?by={by}"), 422, "by")
    assert way_out in problem["errors"][0]["reason"]


@pytest.mark.usefixtures("groups")
async def test_one_that_takes_too_long_names_what_to_leave_out(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_holdout_report, "TIMEOUT_S", 0.001)
    problem = problem_of(await shop.api.call("GET", f"{ONE}?by=segment"), 422, "since")
    assert "leave out by=segment" in problem["errors"][0]["reason"]


@pytest.mark.usefixtures("groups")
async def test_days_that_are_rolled_up_are_divided_alike(shop: Nextbest) -> None:
    dimensions = ("day", "placement", "segment", "control_group")
    before = [await parts_of(shop, by) for by in dimensions]
    engine = shop.api.state.engine
    for _ in DAYS:
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE acceptance SET hour = hour - interval '1 day'"))
        assert await AskedDays(engine).roll_up(clock.to_datetime(clock.now_ms())) == 1
    assert [await parts_of(shop, by) for by in dimensions] == before


@pytest.mark.usefixtures("groups")
async def test_who_asked_in_several_placements_at_once_counts_in_one(shop: Nextbest) -> None:
    fired = "firing-one:0:call"  # nobody asked
    await decide(shop.api, PEOPLE[1].customer_id, "call", decision_id=fired)
    await shop.worker.drain()
    async with shop.api.state.engine.begin() as connection:
        same = "UPDATE decisions SET decided_at = :at WHERE customer_id = :customer"
        values = {"at": TIMES[0], "customer": PEOPLE[0].customer_id}
        await connection.execute(text(same), values)
        same = "UPDATE decisions SET decided_at = :at WHERE decision_id = :fired"
        await connection.execute(text(same), {"at": TIMES[0], "fired": fired})
    assert await parts_of(shop, "placement") == {
        "call": (3, 2, pytest.approx(11 / 3 - 3)),
        "home": (2, 2, 1.0),
    }

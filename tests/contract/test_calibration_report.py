"""The report on calibration: as counted by hand from what was answered and told, of closed windows alone."""

import csv
import io
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from bandits.intervals import wilson_interval
from decisioning.reporting import store_calibration
from tests.support.api import CSV, Nextbest, decide, problem_of, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY_S = 86_400
CUSTOMERS = 60


class Prediction(NamedTuple):
    """An offer that was decided: what was predicted and, once its window is closed, whether it was accepted."""

    offer: str
    policy: str
    placement: str
    channel: str
    predicted: float
    accepted: bool


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def predicted(shop: Nextbest) -> tuple[Nextbest, list[Prediction]]:
    """Predictions whose windows are closed, beside others that are open, withdrawn from sight, late, or imported."""
    api, found = shop.api, list[Prediction]()
    shared = {"slots": 1, "control_share": 0.3, "reward_window_s": 3600, "deadline_ms": 5000}
    await api.ok("PUT", "/v1/placements/quick", json={"channel": "web"} | shared)
    await api.ok(
        "PUT", "/v1/placements/branch", json={"channel": "branch", "presentation": "explicit"} | shared
    )
    for offer in ("gold", "silver"):
        text = {"channel": "branch", "language": "en", "title": offer}
        await api.ok("PUT", f"/v1/offers/{offer}/treatments/desk", json=text)
    rows = [f"c{n},{o},{(n % 12 + 1) / 20}" for n in range(CUSTOMERS) for o in ("gold", "silver")]
    content = "\n".join(["customer_id,offer_id,propensity", *rows]).encode()
    await api.ok("POST", "/v1/imports/propensities", content=content, headers=CSV)
    history = b"customer_id,offer_id,decided_at,outcome\nold,gold,2020-01-05T22:30:00Z,accepted\n"
    await api.ok("POST", "/v1/imports/history", content=history, headers=CSV)
    for n in range(CUSTOMERS):
        placement, channel = ("branch", "branch") if n % 3 == 0 else ("quick", "web")
        answer = await decide(api, f"c{n}", placement)
        offer = answer["offers"][0]
        told = {0: "accepted", 1: "rejected", 2: "presented"}.get(n % 4)
        if told:
            await tell(api, answer["decision_id"], offer["offer_id"], told)
        elif channel == "branch":
            continue  # nobody confirmed it, so nothing was observed
        policy = answer["policy"]
        key = f"{policy['name']}@{policy['version']}"
        p = offer["factors"]["P"]
        found.append(Prediction(offer["offer_id"], key, placement, channel, p, told == "accepted"))
    await shop.worker.drain()
    await shop.worker.expire(ahead_s=DAY_S)
    late = await decide(api, "c1", "quick")
    await tell(api, late["decision_id"], late["offers"][0]["offer_id"], "accepted")  # its window is open
    await shop.worker.drain()
    return shop, found


def expected_bins(of: Sequence[Prediction], bins: int) -> list[tuple[Any, ...]]:
    """Number, acceptances, mean, least and largest prediction of each bin."""
    ordered = sorted(p.predicted for p in of)
    edges = [ordered[math.ceil(part / bins * len(ordered)) - 1] for part in range(1, bins)]
    found: dict[int, list[Prediction]] = {}
    for one in of:
        found.setdefault(bisect_right(edges, one.predicted), []).append(one)
    return [
        (
            len(some),
            sum(p.accepted for p in some),
            pytest.approx(sum(p.predicted for p in some) / len(some)),
            min(p.predicted for p in some),
            max(p.predicted for p in some),
        )
        for _, some in sorted(found.items())
    ]


def shown_bins(report: Any) -> list[tuple[Any, ...]]:
    return [(b["observed"], b["accepted"], b["predicted"], b["least"], b["largest"]) for b in report["bins"]]


async def report(nextbest: Nextbest, query: str = "") -> Any:
    return await nextbest.api.ok("GET", f"/v1/reports/calibration?{query}", role="scientist")


@pytest.mark.parametrize("bins", [1, 3, 10, 50])
async def test_bins_are_as_counted_by_hand(predicted: tuple[Nextbest, list[Prediction]], bins: int) -> None:
    shop, of = predicted
    assert 0 < sum(p.accepted for p in of) < len(of) < CUSTOMERS
    assert len({p.policy for p in of}) > 1
    found = await report(shop, f"bins={bins}")
    assert shown_bins(found) == expected_bins(of, bins)
    for one in found["bins"]:
        rate, low, high = wilson_interval(one["accepted"], one["observed"])
        assert (one["rate"], one["low"], one["high"]) == (rate, low, high)
        assert one["within"] is (low <= one["predicted"] <= high)
    distance = sum(b["observed"] * abs(b["predicted"] - b["rate"]) for b in found["bins"]) / len(of)
    assert found["error"] == pytest.approx(distance)
    brier = sum((p.predicted - p.accepted) ** 2 for p in of) / len(of)
    assert found["total"]["brier"] == pytest.approx(brier)
    assert (found["total"]["observed"], found["total"]["accepted"]) == (len(of), sum(p.accepted for p in of))


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("by=offer", lambda p: (p.offer,)),
        ("by=policy,channel", lambda p: (p.policy, p.channel)),
        ("by=placement&by=offer", lambda p: (p.placement, p.offer)),
        ("by=day&time_zone=UTC", lambda p: (datetime.now(UTC).date().isoformat(),)),
    ],
)
async def test_rows_are_as_counted_by_hand(
    predicted: tuple[Nextbest, list[Prediction]], query: str, key: Callable[[Prediction], Any]
) -> None:
    shop, of = predicted
    found = await report(shop, query)
    rows = {tuple(row[name] for name in found["by"]): row for row in found["rows"]}
    assert rows.keys() == {key(p) for p in of}
    for name, row in rows.items():
        some = [p for p in of if key(p) == name]
        assert (row["observed"], row["accepted"]) == (len(some), sum(p.accepted for p in some))
        assert row["predicted"] == pytest.approx(sum(p.predicted for p in some) / len(some))
    assert shown_bins(found) == expected_bins(of, 10), "whatever the rows are by, bins are of all"


@pytest.mark.parametrize("query", ["by=offer,day", "by=policy&by=channel", "offer=none"])
async def test_files_have_the_same_rows(predicted: tuple[Nextbest, list[Prediction]], query: str) -> None:
    api, rows = predicted[0].api, (await report(predicted[0], query))["rows"]
    found = await api.call("GET", f"/v1/reports/calibration?{query}&format=csv", role="scientist")
    assert found.headers["Content-Type"].startswith("text/csv")
    assert found.headers["Content-Disposition"] == 'attachment; filename="calibration.csv"'
    lines = [*csv.DictReader(io.StringIO(found.text))]
    assert lines == [{n: "" if v is None else str(v) for n, v in row.items()} for row in rows]
    found = await api.call("GET", f"/v1/reports/calibration?{query}&format=parquet", role="scientist")
    table = pq.read_table(io.BytesIO(found.content))
    assert {*table.column_names} >= {"observed", "rate", "within", "brier"}
    days = [row | ({"day": row["day"].isoformat()} if "day" in row else {}) for row in table.to_pylist()]
    assert days == rows


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("offer=gold", lambda p: p.offer == "gold"),
        ("placement=branch", lambda p: p.placement == "branch"),
        ("channel=web", lambda p: p.channel == "web"),
        ("policy=calibrated", lambda p: p.policy.startswith("calibrated@")),
        ("policy=calibrated@1&channel=web", lambda p: p.policy == "calibrated@1" and p.channel == "web"),
        ("since=2020-01-01&until=2024-01-01", lambda p: False),
        ("policy=calibrated@7", lambda p: False),
    ],
)
async def test_filters_leave_the_others_out(
    predicted: tuple[Nextbest, list[Prediction]], query: str, kept: Callable[[Prediction], bool]
) -> None:
    shop, of = predicted
    some = [p for p in of if kept(p)]
    found = await report(shop, query)
    assert shown_bins(found) == (expected_bins(some, 10) if some else [])
    assert found["total"]["observed"] == len(some)
    if not some:
        assert (found["rows"], found["error"], found["total"]["rate"]) == ([], None, None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("bins=0", "bins"),
        ("bins=51", "bins"),
        ("by=segment", "by.0"),
        ("policy=Calibrated!", "policy"),
        ("since=2026-01-02&until=2026-01-02", "until"),
        ("time_zone=Mars", "time_zone"),
        ("format=xlsx", "format"),
    ],
)
async def test_what_cannot_be_is_refused(
    predicted: tuple[Nextbest, list[Prediction]], query: str, field: str
) -> None:
    problem_of(await predicted[0].api.call("GET", f"/v1/reports/calibration?{query}"), 422, field)


async def test_a_report_that_takes_too_long_is_refused(
    predicted: tuple[Nextbest, list[Prediction]], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = store_calibration._COUNT.replace("WHERE true", "WHERE pg_sleep(9) IS NOT NULL")
    monkeypatch.setattr(store_calibration, "_COUNT", slow)
    monkeypatch.setattr("decisioning.reporting.store_offer_report.TIMEOUT_S", 0.05)
    problem_of(await predicted[0].api.call("GET", "/v1/reports/calibration"), 422, "since")

"""Segments in rules and reports, and conditions that lack an attribute, seen from outside."""

import pytest

from tests.support.api import Nextbest, decide, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_acceptance_by_segment(shop: Nextbest) -> None:
    await shop.api.ok("PUT", "/v1/attributes/customer.years", json={"type": "int"})
    for name, when in (("grown", "customer.years > 17"), ("old", "customer.years > 65")):
        await shop.api.ok("PUT", f"/v1/segments/{name}", json={"when": when})
    body = {"channel": "web", "slots": 1, "control_share": 0, "reward_window_s": 3600, "deadline_ms": 5000}
    await shop.api.ok("PUT", "/v1/placements/parted", json=body)
    for number, years in enumerate((12, 30, 40, 70)):
        await shop.api.ok("PUT", f"/v1/customers/aged-{number}", json={"attributes": {"years": years}})
        for _ in range(2):  # the second time what depends on the customer alone is known
            answer = await decide(shop.api, f"aged-{number}", "parted")
        outcome = "accepted" if years >= 40 else "rejected"
        await tell(shop.api, answer["decision_id"], answer["offers"][0]["offer_id"], outcome)
    await shop.worker.drain()
    report = await shop.api.ok("GET", "/v1/reports/acceptance?by=segment&placement=parted")
    rows = {row["segment"]: (row["decided"], row["accepted"], row["rejected"]) for row in report["rows"]}
    assert rows == {"grown": (6, 2, 1), "old": (2, 1, 0)}
    both = await shop.api.ok("GET", "/v1/reports/acceptance?by=segment&by=policy&placement=parted")
    assert {row["policy"] for row in both["rows"]} == {"calibrated"}
    record = await shop.api.ok("GET", f"/v1/decisions/{answer['decision_id']}")
    assert record["segments"] == ["grown", "old"]

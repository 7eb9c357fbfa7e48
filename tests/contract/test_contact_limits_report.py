"""Customers who are at a contact limit now: of a sample, by the contacts that decisions read."""

import pytest

from tests.support.api import Nextbest, decide, problem_of, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_customers_at_a_limit_are_counted_by_policy(shop: Nextbest) -> None:
    api = shop.api
    for n in range(10):
        attributes = {"max_contacts_per_day": 0} if n == 9 else {}
        await api.ok("PUT", f"/v1/customers/c{n}", json={"attributes": attributes})
    web = {"scope": "all", "channels": ["web"], "window_s": 86_400}
    accepted = {"scope": "offer", "max": 1, "window_s": 86_400, "outcomes": ["accepted"]}
    for policy_id, body in {
        "thrice": {"name": "Three a day", "max": 3} | web,
        "again": {"name": "Not again"} | accepted,
        "gold": {"name": "Gold once", "applies_to": "gold"} | accepted,
    }.items():
        await api.ok("PUT", f"/v1/contact-policies/{policy_id}", json=body)
    report = await api.ok("GET", "/v1/reports/contact-limits", role="scientist")
    assert (report["customers"], report["looked_at"]) == (10, 10)
    assert [p["customers"] for p in report["policies"]] == [0, 0, 0]
    assert (report["preferences"]["customers"], report["any"]["customers"]) == (1, 1)
    for n in (1, 2):  # two offers each time, so the fourth contact is one too many
        answers = [await decide(api, f"c{n}"), await decide(api, f"c{n}")]
        assert sum(len(answer["offers"]) for answer in answers) >= 3
    await tell(api, answers[0]["decision_id"], "silver", "accepted")
    report = await api.ok("GET", "/v1/reports/contact-limits")
    found = {p["policy_id"]: (p["name"], p["customers"], p["share"]) for p in report["policies"]}
    assert found == {
        "again": ("Not again", 1, 0.1),
        "gold": ("Gold once", 0, 0.0),
        "thrice": ("Three a day", 2, 0.2),
    }
    assert report["any"] == {"customers": 3, "share": 0.3} | {k: report["any"][k] for k in ("low", "high")}
    assert report["any"]["low"] < 0.3 < report["any"]["high"]


async def test_it_looks_at_a_sample_and_says_so(shop: Nextbest) -> None:
    report = await shop.api.ok("GET", "/v1/reports/contact-limits", params={"sample": 4})
    assert report["customers"] == 10
    assert report["looked_at"] <= 4
    path = "/v1/reports/contact-limits"
    for sample in ("0", "10001", "many"):
        problem_of(await shop.api.call("GET", path, params={"sample": sample}), 422, "sample")

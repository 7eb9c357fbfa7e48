"""What events tell, over HTTP: declared, shown for a customer, tried out in previews, logged as facts."""

from typing import Any

import pytest
import pytest_asyncio

from storage.clock import now_ms, to_iso
from storage.keys import Keys
from storage.redis import make_redis
from tests.support.api import BUCKETS, Instance, Nextbest, decide, problem_of, put_offer
from tests.support.databases import mark_whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR_MS = 3_600_000
VIEW: dict[str, Any] = {
    "name": "Page view",
    "json_schema": {
        "properties": {
            "path": {"type": "string"},
            "referrer": {"type": "string"},
            "time_on_page": {"type": "number"},
        }
    },
}
AGGREGATES: dict[str, dict[str, Any]] = {
    "page": {"function": "last", "property": "path", "window": "30m"},
    "pages_30m": {"function": "count", "window": "30m"},
    "seconds_30m": {"function": "sum", "property": "time_on_page", "window": "30m"},
    "loan_pages": {"function": "count", "window": "24h", "where": "event.path.startsWith('/loans')"},
    "since_view": {"function": "recency", "unit": "hours"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(shop: Nextbest) -> Instance:
    """The shop, with page views and what they tell of a session."""
    api = shop.api
    await api.ok("PUT", "/v1/event-types/page-view", json=VIEW)
    for name, body in AGGREGATES.items():
        await api.ok("PUT", f"/v1/aggregates/{name}", json={"event": "page-view"} | body)
    loans = {"event": "page-view", "weight": 2, "where": "event.path.startsWith('/loans')"}
    concepts = {"loans": [loans], "reading": [{"event": "page-view"}]}
    for name, signals in concepts.items():
        body = {"name": name.title(), "half_life": "7d", "signals": signals}
        await api.ok("PUT", f"/v1/concepts/{name}", json=body)
    return api


async def view(api: Instance, customer_id: str, number: int, path: str, ago_ms: int = 0) -> None:
    """Tell of a page that a customer looked at for five seconds."""
    event = {
        "event_id": f"{customer_id}-{number}",
        "customer_id": customer_id,
        "type": "page-view",
        "occurred_at": to_iso(now_ms() - ago_ms),
        "properties": {"path": path, "time_on_page": 5},
    }
    await api.ok("POST", "/v1/events", json=event, role="frontend")


async def told(api: Instance, customer_id: str) -> Any:
    """What a customer's events tell."""
    return await api.ok("GET", f"/v1/customers/{customer_id}/told")


async def test_a_session_is_known_without_being_sent_again(api: Instance) -> None:
    await view(api, "visitor", 1, "/loans/compare", 26 * HOUR_MS)
    await view(api, "visitor", 2, "/loans/compare", 2 * HOUR_MS)
    await view(api, "visitor", 3, "/home", 60_000)
    await view(api, "visitor", 4, "/loans/apply", 1_000)
    found = await told(api, "visitor")
    assert found["events"].pop("since_view") == pytest.approx(1 / 3600, abs=0.02)
    assert found["events"] == {"page": "/loans/apply", "pages_30m": 2, "seconds_30m": 10.0, "loan_pages": 2}
    assert [(i["concept"], i["name"]) for i in found["interests"]] == [
        ("loans", "Loans"),
        ("reading", "Reading"),
    ]
    assert found["interests"][0]["score"] == pytest.approx(2 * (2 + 2 ** (-26 / 168)), abs=0.05)


async def test_of_a_customer_without_events_counts_and_sums_are_zero(api: Instance) -> None:
    found = await told(api, "nobody")
    assert found["events"] == {"pages_30m": 0, "seconds_30m": 0.0, "loan_pages": 0}
    assert found["interests"] == []


async def test_a_preview_knows_what_events_tell(api: Instance) -> None:
    await api.ok("PUT", "/v1/customers/reader", json={"attributes": {"age": 44}})
    await api.ok("PUT", "/v1/customers/unread", json={"attributes": {"age": 44}})
    for number in range(3):
        await view(api, "reader", number, "/loans")
    expression = "events.loan_pages >= 3 && interests.loans > 5.0 && customer.known"
    found = await api.ok("POST", "/v1/rules/preview", json={"expression": expression})
    assert found["examples"] == ["reader"]
    rest = await api.ok("POST", "/v1/rules/preview", json={"expression": "events.loan_pages == 0"})
    assert rest["matching"] == rest["sample"] - 1 > 0


async def test_a_simulation_knows_what_events_tell(api: Instance) -> None:
    await api.ok("PUT", "/v1/customers/simulated", json={"attributes": {"age": 44}})
    await view(api, "simulated", 1, "/loans/rare")
    await api.ok("PUT", "/v1/placements/sim", json={"channel": "web", "control_share": 0})
    rules = [{"name": "read of loans", "tier": "eligibility", "when": "events.page == '/loans/rare'"}]
    offer = await api.ok("GET", "/v1/offers/gold")
    body = {k: offer[k] for k in ("name", "group", "value")} | {"rules": rules, "status": "live"}
    change = {"kind": "offer", "id": "gold", "body": body}
    found = await api.ok(
        "POST",
        "/v1/simulations",
        json={"placement": "sim", "changes": [change]},
    )
    gold = next(o for o in found["offers"] if o["offer_id"] == "gold")
    assert gold["changed"] == 1


COUNT = {"event": "page-view", "function": "count", "window": "7d"}
SUM = COUNT | {"function": "sum"}


async def test_interests_are_ranked_over_all_customers(api: Instance) -> None:
    for number, customer_id in enumerate(("sum-a", "sum-b")):
        await api.ok("PUT", f"/v1/customers/{customer_id}", json={"attributes": {"age": 44}})
        await view(api, customer_id, number, "/loans")
    report = await api.ok("GET", "/v1/reports/interests?sample=10000")
    assert report["sample"] == report["customers"] >= 2
    loans, reading = report["interests"]
    assert (loans["concept"], loans["name"], reading["concept"]) == ("loans", "Loans", "reading")
    assert loans["customers"] == reading["customers"] >= 2
    assert loans["share"] == pytest.approx(2 / 3, abs=0.001)
    assert loans["share"] + reading["share"] == pytest.approx(1)
    assert (await api.ok("GET", "/v1/reports/interests?sample=1"))["sample"] == 1
    problem_of(await api.call("GET", "/v1/reports/interests?sample=10001"), 422, "sample")


@pytest.mark.parametrize(
    ("path", "body", "field", "words"),
    [
        ("aggregates", COUNT | {"event": "page-viev"}, "event", "no event 'page-viev'"),
        ("aggregates", COUNT | {"window": "7 days"}, "window", "write 7d"),
        ("aggregates", COUNT | {"window": None}, "window", "is missing"),
        ("aggregates", COUNT | {"where": "event.pth == '/'"}, "where", "event.path == '/'"),
        ("aggregates", SUM | {"property": "time_on_pag"}, "property", "did you mean 'time_on_page'?"),
        (
            "concepts",
            {"signals": [{"event": "page-view", "weight": 0}]},
            "signals.0.weight",
            "greater than 0",
        ),
        (
            "concepts",
            {"signals": [{"event": "page-view", "where": "path == '/'"}]},
            "signals.0.where",
            "write event.path == '/'",
        ),
        ("segments", {"when": "events.loan_pags > 1"}, "segments.wrong.when", "events.loan_pages > 1"),
        ("segments", {"when": "interests.loan > 1.0"}, "segments.wrong.when", "interests.loans > 1.0"),
        ("segments", {"when": "events.page > 1"}, "segments.wrong.when", "does not go with"),
    ],
)
async def test_what_is_wrong_is_refused_with_the_field_and_the_way_out(
    api: Instance, path: str, body: dict[str, Any], field: str, words: str
) -> None:
    answer = await api.call("PUT", f"/v1/{path}/wrong", json=body)
    problem_of(answer, 422, field)
    assert words in answer.text.replace('\\"', '"')
    assert (await api.call("GET", f"/v1/{path}/wrong")).status_code == 404


async def test_what_a_rule_names_is_not_taken_from_it(api: Instance) -> None:
    await api.ok("PUT", "/v1/segments/reads_loans", json={"when": "events.loan_pages > 1"})
    refused = problem_of(await api.call("DELETE", "/v1/aggregates/loan_pages"), 422)
    assert "events.loan_pages" in refused["detail"]
    problem_of(await api.call("DELETE", "/v1/event-types/page-view"), 422)
    await api.ok("DELETE", "/v1/segments/reads_loans")


async def test_facts_of_events_are_logged_where_a_placement_asks_for_them(
    api: Instance, shop: Nextbest
) -> None:
    facts = ["events.pages_30m", "interests.loans", "events.page"]
    await api.ok("PUT", "/v1/placements/facts", json={"channel": "web", "log_facts": facts})
    await view(api, "logged", 1, "/loans")
    decision_id = (await decide(api, "logged", "facts"))["decision_id"]
    await shop.worker.archive()
    logged = await api.state.archive.decision(decision_id)
    assert logged is not None
    assert logged.decision.facts == {
        "events.pages_30m": 1,
        "events.page": "/loans",
        "interests.loans": pytest.approx(2.0, abs=0.01),
    }
    wrong = {"channel": "web", "log_facts": ["events.pages_3m"]}
    answer = await api.call("PUT", "/v1/placements/facts2", json=wrong)
    problem_of(answer, 422, "log_facts.0")
    assert "did you mean 'events.pages_30m'?" in answer.text


@pytest.mark.parametrize("when", ["events.loan_pages == 0", "interests.loans < 1.0"])
async def test_rules_on_events_fail_closed_while_redis_has_lost_them(
    api: Instance, shop: Nextbest, when: str
) -> None:
    rules = [{"name": "no loans", "tier": "eligibility", "when": when}]
    await put_offer(api, "unread", value=30, rules=rules)
    await api.ok("PUT", "/v1/placements/unread", json={"channel": "web", "slots": 5, "control_share": 0})
    keys = Keys(BUCKETS)
    assert shop.settings.redis_url is not None
    redis = make_redis(shop.settings.redis_url)

    async def decided(customer_id: str) -> tuple[bool, list[str]]:
        found = await decide(api, customer_id, "unread")
        return "unread" in [offer["offer_id"] for offer in found["offers"]], found["degraded"]

    try:
        assert await decided("kept-1") == (True, [])
        await redis.delete(*(keys.whole(bucket) for bucket in range(BUCKETS)))
        assert await decided("kept-2") == (False, ["contact_history_unavailable"])
        await mark_whole(redis, keys)
        assert await decided("kept-3") == (True, [])
    finally:
        await redis.aclose()

"""Outcomes of one's own, over HTTP: declared, told, earned, learned, counted, and the same after a rebuild."""

from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from bandits.state import decode_state
from bandits.sums import total_of
from decisioning.learning.store_arms import ArmStore
from decisioning.model.outcome import parse_earned
from decisioning.recovery.store_rebuild import Rebuilder
from storage import clock
from tests.support.api import Instance, Nextbest, decide, problem_of, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")

DECLARED: dict[str, dict[str, Any]] = {
    "quoted": {"name": "Quoted", "reward": 0.3, "place": 50},
    "activated": {"reward": 3, "place": 200, "terminal": True},
    "complaint": {"reward": -10},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def declared(shop: Nextbest) -> Nextbest:
    """The shop with outcomes of its own."""
    for name, body in DECLARED.items():
        await shop.api.ok("PUT", f"/v1/outcomes/{name}", json=body)
    return shop


async def refused(api: Instance, decision_id: str, outcome: str, status: int) -> str:
    """What is said of an outcome that is not taken."""
    body = {"decision_id": decision_id, "offer_id": "gold", "outcome": outcome}
    return str(problem_of(await api.call("POST", "/v1/feedback", json=body), status)["detail"])


async def earned(nextbest: Nextbest, decision_id: str) -> list[tuple[str, float | None, float]]:
    """What the archive says of each outcome that earned something: before, and after."""
    await nextbest.worker.drain()
    query = text(
        "SELECT outcome, earned FROM outcomes WHERE decision_id = :id AND earned IS NOT NULL"
        " ORDER BY recorded_ms, position"
    )
    async with nextbest.api.state.engine.connect() as connection:
        rows = (await connection.execute(query, {"id": decision_id})).all()
    found = []
    for row in rows:
        amounts = parse_earned(row.earned)
        assert amounts is not None
        found.append((row.outcome, amounts.before, amounts.after))
    return found


async def test_what_is_not_declared_is_refused_with_what_may_have_been_meant(declared: Nextbest) -> None:
    api, made = declared.api, await decide(declared.api, "typo")
    said = await refused(api, made["decision_id"], "qouted", 422)
    assert "'accepted', 'activated', 'clicked', 'complaint', 'presented', 'quoted' or 'rejected'" in said
    assert "did you mean 'quoted'?" in said
    assert "PUT /v1/outcomes/zzz" in await refused(api, made["decision_id"], "zzz", 422)
    batch = {"items": [{"decision_id": made["decision_id"], "offer_id": "gold", "outcome": "zzz"}]}
    answer = await api.ok("POST", "/v1/feedback/batch", json=batch)
    assert (answer["items"][0]["code"], answer["items"][0]["field"]) == (422, "outcome")


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("expired", {}, "outcome_id"),
        ("clicked", {"terminal": True}, "terminal"),
        ("quoted", {"place": 0}, "place"),
        ("quoted", {"reward": "inf"}, "reward"),
    ],
)
async def test_a_declaration_that_makes_no_sense_is_refused(
    api: Instance, name: str, body: dict[str, Any], field: str
) -> None:
    answer = await api.call("PUT", f"/v1/outcomes/{name}", json=body)
    assert any(e["field"].endswith(field) for e in problem_of(answer, 422)["errors"])


async def test_the_furthest_in_the_funnel_counts_and_others_are_added(declared: Nextbest) -> None:
    api, decision_id = declared.api, (await decide(declared.api, "earner"))["decision_id"]
    for outcome in ("quoted", "complaint", "accepted"):
        assert await tell(api, decision_id, "gold", outcome) == "recorded"
    assert await tell(api, decision_id, "gold", "quoted") == "duplicate"
    assert await earned(declared, decision_id) == [
        ("quoted", 0.0, 0.3),
        ("complaint", 0.3, -9.7),
        ("accepted", -9.7, -9.0),
    ]
    assert await tell(api, decision_id, "gold", "activated") == "recorded"
    other = (await decide(api, "other"))["decision_id"]
    await tell(api, other, "gold", "activated")
    assert "already activated" in await refused(api, other, "accepted", 409)
    assert await tell(api, other, "gold", "complaint") == "recorded"


async def test_a_persons_export_says_what_outcomes_earned(declared: Nextbest) -> None:
    api, decision_id = declared.api, (await decide(declared.api, "exported"))["decision_id"]
    for outcome in ("quoted", "complaint"):
        await tell(api, decision_id, "gold", outcome)
    await declared.worker.drain()
    found = await api.ok("GET", "/v1/customers/exported/export", role="ops")
    told = {one["outcome"]: one["earned"] for one in found["decisions"][0]["outcomes"]}
    amounts = [parse_earned(told[outcome]) for outcome in ("quoted", "complaint")]
    assert [(one.before, one.after) for one in amounts if one is not None] == [(0.0, 0.3), (0.3, -9.7)]


def approximately(before: list[float], earned: float) -> Any:
    """The sums after one more decision, which has earned so much; rewards are multiples of 2 ** -20."""
    return pytest.approx([before[0] + 1, before[1] + (earned + 10) / 14], abs=1e-5)


async def sums(nextbest: Nextbest) -> list[float]:
    """What the policy has learned of gold so far: how often it was shown, and the sum of the rewards."""
    await nextbest.worker.learn()
    state = nextbest.api.state
    arms = await ArmStore(state.redis, state.keys).load("earner@1")
    assert arms is not None
    stored = arms.fields.get(f"{state.current_catalogue().offers['gold'].number}:0")
    return [0.0, 0.0] if stored is None else total_of(decode_state(stored, 3)).tolist()[:2]


async def test_a_policy_learns_what_was_earned_and_the_same_again_after_a_rebuild(declared: Nextbest) -> None:
    api, state = declared.api, declared.api.state
    scales = {"learn_from": "earned", "value_scale": 4, "loss_scale": 10}
    spec = {"name": "earner", "algorithm": "thompson", "parameters": {"half_life_days": 0}} | scales
    window = await api.call("POST", "/v1/policies", json=spec | {"reward_window_s": 60}, role="scientist")
    assert "the placement's window" in problem_of(window, 422, "reward_window_s")["detail"]
    await api.ok("POST", "/v1/policies", json=spec, role="scientist")
    await declared.worker.drain()
    await declared.worker.warm()
    before = await sums(declared)
    decision_id = (await decide(api, "learner"))["decision_id"]
    earns = 0.0  # silence is nothing earned
    assert await sums(declared) == approximately(before, earns)
    for outcome, earns in (("quoted", 0.3), ("complaint", -9.7)):
        await tell(api, decision_id, "gold", outcome)
        assert await sums(declared) == approximately(before, earns)
    learned = await sums(declared)
    await declared.worker.drain()
    await state.redis.flushdb()
    await Rebuilder(
        state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms
    ).rebuild()
    assert await sums(declared) == learned
    await tell(api, decision_id, "gold", "accepted")
    assert (await earned(declared, decision_id))[-1] == ("accepted", -9.7, -9.0)
    assert await sums(declared) == approximately(before, -9.0)


async def test_outcomes_are_counted_with_what_they_earned(declared: Nextbest) -> None:
    api = declared.api
    await api.ok("PUT", "/v1/placements/counted", json={"channel": "web", "slots": 2, "control_share": 0})
    for customer in ("c-1", "c-2"):
        decision_id = (await decide(api, customer, "counted"))["decision_id"]
        await tell(api, decision_id, "gold", "quoted")
    await tell(api, decision_id, "gold", "accepted")
    await declared.worker.drain()
    found = await api.ok("GET", "/v1/reports/outcomes", params={"placement": "counted"})
    assert found["outcomes"] == [
        {
            "offer_id": "gold",
            "outcome": "accepted",
            "reason": None,
            "told": 1,
            "late": 0,
            "earned": pytest.approx(0.7),
        },
        {
            "offer_id": "gold",
            "outcome": "quoted",
            "reason": None,
            "told": 2,
            "late": 0,
            "earned": pytest.approx(0.6),
        },
    ]


async def test_a_declared_outcome_confirms_that_an_offer_was_presented(declared: Nextbest) -> None:
    api = declared.api
    decision_id = (await decide(api, "desk-1", "desk"))["decision_id"]
    await tell(api, decision_id, "gold", "quoted")
    await declared.worker.expire(ahead_s=8 * 86_400)
    await declared.worker.drain()
    query = text("SELECT outcome, reward FROM outcomes WHERE decision_id = :id AND offer_id = 'gold'")
    async with api.state.engine.connect() as connection:
        rows = (await connection.execute(query, {"id": decision_id})).all()
    assert {(row.outcome, row.reward) for row in rows} == {("quoted", None), ("expired", 0.0)}

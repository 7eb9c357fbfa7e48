"""The autopilot takes a better candidate to champion, step by step, and can be stopped at any of them."""

import asyncio
from functools import partial
from typing import Any

import pytest

from bandits.features import Feature
from decisioning.policies.store_facts import choose_features
from decisioning.rollout.autopilot import DAY_MS
from decisioning.rollout.autopilot_service import AutopilotService
from decisioning.rollout.default_service import AUTHOR
from decisioning.rollout.store_autopilot import AutopilotStore
from storage import clock
from tests.support.api import Nextbest, problem_of
from tests.support.canaries import Crowd, guard_of, place

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"canary_share": 0.5, "min_shadowed": 10, "min_days": 0, "max_days": 3}
FIRST, SECOND = "auto-calibrated@1", "auto-calibrated-day@1"


def pilot_of(shop: Nextbest, ahead_days: float = 0.0, **fields: Any) -> AutopilotService:
    """The service as a worker has it, with a clock that is so many days ahead."""
    state = shop.api.state
    return AutopilotService(
        state.catalogues,
        state.policies,
        AutopilotStore(state.engine),
        partial(choose_features, state.engine),
        lambda: clock.now_ms() + round(ahead_days * DAY_MS),
        **fields,
    )


async def look(shop: Nextbest, **fields: Any) -> None:
    """One round of two workers at once, in force here afterwards."""
    await asyncio.gather(pilot_of(shop, **fields).look(), pilot_of(shop, **fields).look())
    await shop.api.state.refresh()


async def stages(shop: Nextbest, placement: str) -> Any:
    """The policies that have a part, by stage; and the state of the autopilot."""
    shown = await shop.api.ok("GET", f"/v1/placements/{placement}/policies", role="scientist")
    parts = {
        p["stage"]: p["policy"] for p in shown["policies"] if p["stage"] in ("shadow", "canary", "champion")
    }
    return parts, shown["autopilot"]


async def trail(shop: Nextbest, placement: str) -> list[Any]:
    """Author and reason of the changes of a placement's policies, newest first."""
    found = await shop.api.ok("GET", f"/v1/catalog?kind=deployment&id={placement}", role="scientist")
    return [(entry["author"], entry["reason"]) for entry in found]


async def begin(shop: Nextbest, placement: str) -> None:
    """A placement in which ``random`` decides, with the autopilot on."""
    await place(shop.api, placement)
    path = f"/v1/placements/{placement}"
    champion = {"policy": "random@1", "stage": "champion", "force": True}
    await shop.api.ok("POST", f"{path}/policies", json=champion, role="scientist")
    guardrails = {"alpha": 0.05, "horizon_s": 60}
    await shop.api.ok("PUT", f"{path}/guardrails", json=guardrails, role="scientist")
    body = SETTINGS | {"reason": "let it"}
    shown = await shop.api.ok("PUT", f"{path}/autopilot", json=body, role="scientist")
    assert shown["autopilot"]["turn"] is None
    assert shown["autopilot"]["canary_share"] == 0.5
    shown = await shop.api.ok("PATCH", f"{path}/autopilot", json={"reason": "as it was"}, role="scientist")
    assert shown["autopilot"]["canary_share"] == 0.5


async def to_canary(shop: Nextbest, placement: str, crowd: Crowd, candidate: str) -> None:
    """Let the next candidate become a shadow, and a canary."""
    await shop.worker.shadow()
    await look(shop)
    assert (await stages(shop, placement))[0] == {"champion": "random@1", "shadow": candidate}
    await shop.worker.warm()
    await crowd.come(15)
    await shop.worker.shadow()
    await look(shop)
    parts, shown = await stages(shop, placement)
    assert parts == {"champion": "random@1", "canary": candidate}
    assert (shown["turn"]["policy"], shown["turn"]["stage"]) == (candidate, "canary")


async def test_a_better_candidate_becomes_the_champion(shop: Nextbest) -> None:
    await begin(shop, "pilot")
    crowd = Crowd(shop, "pilot", 7, **{"random": 0.3, "auto-calibrated": 0.8})
    await to_canary(shop, "pilot", crowd, FIRST)
    for _ in range(20):
        await crowd.come(20)
        await guard_of(shop).round()
        await look(shop)
        parts, shown = await stages(shop, "pilot")
        if "canary" not in parts:
            break
    assert parts == {"champion": FIRST}
    assert shown["turn"] is None
    assert list(shown["tried"]) == ["auto-calibrated"]
    assert {answer["policy"]["name"] for answer in await crowd.come(5)} == {"auto-calibrated"}
    told = await trail(shop, "pilot")
    assert [author for author, _ in told[:3]] == [AUTHOR] * 3
    assert f"{FIRST} becomes the champion: it is better than random@1" in told[0][1]
    assert f"{FIRST} decides for 50 % of the customers" in told[1][1]
    assert "auto-calibrated (calibrated) is tried out against random@1" in told[2][1]
    assert len(told) == 6, "two workers took no step twice"
    done = await shop.api.ok("POST", "/v1/placements/pilot/policies/rollback", json={}, role="ops")
    assert done["champion"] == "random@1"
    await shop.api.ok("DELETE", "/v1/placements/pilot/autopilot", role="scientist")


async def test_switched_off_in_the_middle_its_canary_ends_in_the_same_call(shop: Nextbest) -> None:
    await begin(shop, "stopped")
    crowd = Crowd(shop, "stopped", 8, **{"random": 0.5, "auto-calibrated": 0.5})
    await to_canary(shop, "stopped", crowd, FIRST)
    before = len(await trail(shop, "stopped"))
    path = "/v1/placements/stopped/autopilot"
    reason = {"X-Reason": "enough"}
    shown = await shop.api.ok("DELETE", path, role="ops", headers=reason)
    assert shown["autopilot"] is None
    parts, _ = await stages(shop, "stopped")
    assert parts == {"champion": "random@1"}
    told = await trail(shop, "stopped")
    assert len(told) == before + 1
    assert told[0][1] == "enough"
    assert {answer["policy"]["name"] for answer in await crowd.come(10)} == {"random"}
    await look(shop)
    await shop.api.ok("DELETE", path, role="ops")
    assert len(await trail(shop, "stopped")) == before + 1, "off is off"


async def test_a_worse_candidate_goes_and_the_next_one_has_its_turn(shop: Nextbest) -> None:
    await begin(shop, "next")
    crowd = Crowd(shop, "next", 9, **{"random": 0.8, "auto-calibrated": 0.2, "auto-calibrated-day": 0.8})
    await to_canary(shop, "next", crowd, FIRST)
    for _ in range(20):
        await crowd.come(20)
        await guard_of(shop).round()
        if (await trail(shop, "next"))[0][0] == "guardrails":
            break
    await look(shop)
    parts, shown = await stages(shop, "next")
    assert parts == {"champion": "random@1"}
    assert list(shown["tried"]) == ["auto-calibrated"]
    author, reason = (await trail(shop, "next"))[0]
    assert author == AUTHOR
    assert f"the turn of {FIRST} is over: the guardrails took it back: it is worse" in reason
    await to_canary(shop, "next", crowd, SECOND)
    # Somebody takes the canary over: it is theirs from now on.
    body = {"policy": SECOND, "stage": "canary", "share": 0.7}
    await shop.api.ok("POST", "/v1/placements/next/policies", json=body, role="scientist")
    await look(shop)
    await look(shop)
    parts, shown = await stages(shop, "next")
    assert (parts["canary"], shown["turn"]) == (SECOND, None)
    assert "its stage or its share was changed by hand" in (await trail(shop, "next"))[0][1]
    await shop.api.ok("DELETE", "/v1/placements/next/autopilot", role="scientist")
    assert (await stages(shop, "next"))[0]["canary"] == SECOND


async def test_an_undecided_candidate_ends_in_time_and_learns_no_more(shop: Nextbest) -> None:
    await begin(shop, "undecided")
    await look(shop)
    key = (await stages(shop, "undecided"))[0]["shadow"]
    await look(shop, ahead_days=3.01, retire_after_ms=3_600_000)
    assert (await stages(shop, "undecided"))[0] == {"champion": "random@1"}
    assert f"the turn of {key} is over: after 3 days" in (await trail(shop, "undecided"))[0][1]
    await shop.api.ok("DELETE", "/v1/placements/undecided/autopilot", role="scientist")
    await look(shop, retire_after_ms=0)
    name, _, version = key.partition("@")
    shown = await shop.api.ok("GET", f"/v1/policies/{name}/{version}")
    assert shown["state"] == "retired"


async def test_one_version_serves_all_placements_though_ranges_move(shop: Nextbest) -> None:
    for placement in ("here", "there"):
        await begin(shop, placement)
    seen = iter(range(100))

    async def choose(_: Any) -> tuple[Feature, ...]:
        high = 50.0 + next(seen)
        return (Feature("age", "numeric", path="customer.age", low=18.0, high=high),)

    pilot = pilot_of(shop)
    pilot.choose = choose
    await pilot.look()
    await shop.api.state.refresh()
    shadows = [(await stages(shop, placement))[0]["shadow"] for placement in ("here", "there")]
    assert shadows[0] == shadows[1]
    for placement in ("here", "there"):
        await shop.api.ok("DELETE", f"/v1/placements/{placement}/autopilot")


async def test_settings_that_make_no_sense_are_refused(shop: Nextbest) -> None:
    path = "/v1/placements/home/autopilot"
    for body, field in (({"canary_share": 0}, "canary_share"), ({"min_days": 14}, "min_days")):
        answer = await shop.api.call("PUT", path, json=body, role="scientist")
        problem_of(answer, 422, field)
    assert (await shop.api.call("PUT", path, json={}, role="ops")).status_code == 403
    assert (await shop.api.call("DELETE", "/v1/placements/nowhere/autopilot")).status_code == 404

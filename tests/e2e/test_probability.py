"""Invariant 5: every selection carries the exact probability with which the system made it."""

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import pytest

from app.state import ApiState
from decisioning.decide.service import DecisionInputs
from decisioning.log.ports import ReadReply
from tests.support.inprocess import decision_service, state_of
from tests.support.installation import Api, Installation, place, publish
from tests.support.truth import Stores, look, stores, wait_caught_up
from tests.support.waiting import eventually

DRAWS = 1500
LEFT = {"plain", "better", "agreed", "rich"}
# The 99.9 % points of the chi-squared distribution for 2 and 3 degrees of freedom. Ids are the same in every run, and
# the arms are cold, so the draws are the same as well.
CRITICAL = {2: 13.82, 3: 16.27}


@pytest.fixture(scope="module")
def api(installation: Installation) -> Api:
    """Offers of which a customer may get four: others lack consent, a treatment, a date, or a free contact."""
    api = installation.serve()
    installation.work()
    api.wait()
    publish(api, ["plain", "better", "elsewhere", "over", "paused"])
    publish(api, ["rich"], value=1.3)
    publish(api, ["agreed"], consent="service")
    publish(api, ["refused"], consent="marketing")
    publish(api, ["spent"], limits=[{"max": 1, "window_s": 3600}], value=100.0)
    place(api, slots=2)
    place(api, "everything", slots=20)
    assert "spent" in {offer["offer_id"] for offer in api.decide("customer", "everything")["offers"]}
    csv = "customer_id,offer_id,propensity\ncustomer,plain,0.05\ncustomer,better,0.08\ncustomer,agreed,0.03\n"
    headers = {"Content-Type": "text/csv", **api.headers}
    assert api.http.post("/v1/imports/propensities", content=csv, headers=headers).json()["loaded"] == 3
    group = {"name": "x", "group": "grow"}
    api.ok("PUT", "/v1/offers/over", {**group, "ends_at": "2020-01-01T00:00:00Z"})
    api.ok("PUT", "/v1/offers/paused", {**group, "status": "paused"})
    api.ok("PUT", "/v1/offers/elsewhere/treatments/web", {"channel": "kiosk", "title": "Elsewhere"})
    api.ok("PUT", "/v1/customers/customer", {"consents": {"service": ["*"], "marketing": ["email"]}})
    wait_caught_up(installation)
    return api


async def draw(state: ApiState, count: int) -> list[Any]:
    """Dry runs under ids that are the same in every run of the test."""
    service = decision_service(state)
    request = DecisionInputs("customer", "web", {}, dry_run=True)
    return [(await service.decide(request))["offers"] for _ in range(count)]


def check_distribution(draws: list[Any]) -> None:
    """One probability for each offer, which sum to one, and with which the offers were really drawn."""
    probability: dict[str, float] = {}
    counts: Counter[str] = Counter()
    for offer in draws:
        name = offer["offer_id"]
        assert probability.setdefault(name, offer["probability"]) == offer["probability"]
        counts[name] += 1
    assert sum(probability.values()) == pytest.approx(1.0, abs=1e-12)
    statistic = sum((counts[o] - p * len(draws)) ** 2 / (p * len(draws)) for o, p in probability.items())
    assert statistic < CRITICAL[len(probability) - 1]


async def test_invariant_5_the_logged_probability_is_the_real_one(
    api: Api, installation: Installation
) -> None:
    async with state_of(installation) as state:
        draws = await draw(state, DRAWS)
    assert {offer["offer_id"] for offers in draws for offer in offers} == LEFT
    check_distribution([offers[0] for offers in draws])
    after = defaultdict(list)
    for first, second in draws:
        after[first["offer_id"]].append(second)
    assert set(after) == LEFT
    for seconds in after.values():  # the second slot: over what the first one left
        if len(seconds) > 200:
            check_distribution(seconds)


def test_invariant_5_the_log_holds_what_was_left_to_choose_from(api: Api, installation: Installation) -> None:
    answer = api.decide("customer")
    wait_caught_up(installation)
    assert look(installation, lambda found: logged_candidates(found, answer["decision_id"])) == LEFT
    record = api.ok("GET", f"/v1/decisions/{answer['decision_id']}")
    assert [(o["offer_id"], o["probability"]) for o in record["offers"]] == [
        (o["offer_id"], o["probability"]) for o in answer["offers"]
    ]


async def logged_candidates(found: Stores, decision_id: str) -> set[str]:
    """The ids of the candidates of an archived decision."""
    decided = await found.archive.decision(decision_id)
    assert decided is not None
    names = {row.offer_no: row.offer_id for row in await found.rows("SELECT * FROM offers")}
    return {names[number] for number in decided.candidates.tolist()}


class Outdated:
    """A log that does not see the contact history when it reads: another process was faster."""

    def __init__(self, state: ApiState) -> None:
        self._log = state.decision_log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read(self, *arguments: Any) -> ReadReply:
        """Return the reply of Redis without its contacts."""
        return replace(await self._log.read(*arguments), history=[])


async def test_invariant_5_an_offer_that_drops_out_while_reserving_leaves_no_trace(
    api: Api, installation: Installation
) -> None:
    async with state_of(installation) as state, stores(installation) as found:
        # Beforehand: what was shown is learned at once.
        again = decision_service(state, entropy=lambda: bytes(15) + b"!")
        dry = await again.decide(DecisionInputs("customer", "web", {}, dry_run=True))
        service = decision_service(state, decision_log=Outdated(state), entropy=lambda: bytes(15) + b"!")
        answer = await service.decide(DecisionInputs("customer", "web", {}))
        await eventually(found.caught_up, "the worker to catch up", progress=lambda: found.reached)
        assert await logged_candidates(found, answer["decision_id"]) == LEFT
        assert dry["offers"] == answer["offers"]

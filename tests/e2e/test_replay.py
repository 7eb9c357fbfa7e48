"""Invariants 6 and 7: decisions are replayed bit for bit, and an outcome is known to every process at once."""

import json
import math
import random
from typing import Any

import pytest

from decisioning.catalog.store import CatalogueStore
from decisioning.evaluation.replay_service import Replayed, replay
from decisioning.log.codec import as_json
from decisioning.policies.roster import Roster
from tests.support.installation import Api, Installation, everywhere, place, publish
from tests.support.truth import Stores, execute, look, wait_caught_up
from tests.support.waiting import Deadline, wait_until

OFFERS = ("alpha", "beta", "gamma", "delta")
FRESH_S = 2.0


@pytest.fixture(scope="module")
def apis(installation: Installation) -> tuple[Api, Api]:
    first, second = installation.serve(), installation.serve()
    installation.work()
    first.wait()
    second.wait()
    publish(first, OFFERS[:3])
    publish(first, OFFERS[3:], consent="marketing", value=3.0)
    place(first, slots=3)
    place(first, "controlled", slots=2, control_share=1.0)
    for number in range(0, 8, 2):
        first.ok("PUT", f"/v1/customers/c{number}", {"consents": {"marketing": ["web"]}})
    everywhere(first, second)
    return first, second


async def replayed(found: Stores, decision_id: str) -> Replayed:
    """A decision made again from the log."""
    return await replay(decision_id, found.archive, CatalogueStore(found.engine), Roster())


def test_invariant_6_replay_is_identical_bit_for_bit(
    apis: tuple[Api, Api], installation: Installation
) -> None:
    rng = random.Random(6)
    decisions = []
    for number in range(60):
        api = rng.choice(apis)
        decision = api.decide(
            f"c{number % 8}", "controlled" if number % 10 == 9 else "web", context={"n": number}
        )
        decisions.append(decision)
        for offer in decision["offers"]:
            if rng.random() < 0.6:
                api.feedback(decision["decision_id"], offer["offer_id"], rng.choice(("accepted", "rejected")))
        if number == 30:  # a new version of the catalogue
            publish(apis[0], ["beta"], value=2.5)
            everywhere(*apis)
    wait_caught_up(installation)

    async def check(found: Stores) -> set[tuple[str, int, int]]:
        seen = set()
        for decision in decisions:
            again = await replayed(found, decision["decision_id"])
            assert again.identical
            assert [(o.offer_id, o.probability, o.score) for o in again.replayed] == [
                (o["offer_id"], o["probability"], o["score"]) for o in decision["offers"]
            ]
            seen.add((again.policy, again.epoch, again.catalog_version))
        return seen

    seen = look(installation, check)
    assert {policy for policy, _, _ in seen} == {"calibrated@1", "random@1"}
    assert len({epoch for policy, epoch, _ in seen if policy == "calibrated@1"}) > 10
    assert len({version for _, _, version in seen}) > 1
    printed = installation.command("replay", decisions[-2]["decision_id"])
    assert "identical" in printed.splitlines()
    assert repr(decisions[-2]["offers"][0]["probability"]) in printed

    # A difference in the last bit of one number is noticed.
    forged = decisions[-2]["decision_id"]
    look(installation, lambda found: forge(found, installation.postgres_url, forged))
    assert not look(installation, lambda found: replayed(found, forged)).identical


async def forge(found: Stores, postgres_url: str, decision_id: str) -> None:
    """Change a logged probability by as little as there is."""
    logged = await found.archive.decision(decision_id)
    assert logged is not None
    offers: Any = [as_json(offer) for offer in logged.decision.offers]
    offers[0]["probability"] = math.nextafter(offers[0]["probability"], 1.0)
    await execute(
        postgres_url,
        f"UPDATE decisions SET header = jsonb_set(header, '{{offers}}', '{json.dumps(offers)}'::jsonb)"
        f" WHERE decision_id = '{decision_id}'",
    )


def test_invariant_7_an_outcome_shapes_the_next_decision_of_every_process(apis: tuple[Api, Api]) -> None:
    def propensities(api: Api) -> dict[str, float]:
        answer = api.decide("somebody", dry_run=True)
        return {offer["offer_id"]: offer["factors"]["P"] for offer in answer["offers"]}

    def changed(api: Api, offer_id: str, before: float) -> float:
        fresh = Deadline("the other process to follow", timeout_s=FRESH_S)
        while (after := propensities(api)[offer_id]) == before:
            fresh.check(after)
        return after

    for teller, other in (apis, apis[::-1]):
        # What was told to it before, it may know before the other: then that would be taken for what comes now.
        wait_until(lambda: propensities(apis[0]) == propensities(apis[1]), "both processes to know the same")
        before = propensities(other)
        decision = teller.decide("c1")
        offer_id = decision["offers"][0]["offer_id"]
        silent = changed(other, offer_id, before[offer_id])
        assert silent < before[offer_id]  # nothing has come of it so far
        assert teller.feedback(decision["decision_id"], offer_id, "accepted") == "recorded"
        accepted = changed(other, offer_id, silent)
        assert accepted > before[offer_id]

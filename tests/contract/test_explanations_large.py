"""A thousand offers and two hundred distinct rules, published at once, decided about and explained in full."""

from typing import Any

import pytest
from pydantic_core import to_json

from app.api.decisions.explanation_schemas import CandidateExplained
from decisioning.catalog.store import CatalogueStore
from tests.support.api import Nextbest, decide
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

OFFERS, RULES = 1000, 200


def entries() -> list[tuple[str, str, dict[str, Any]]]:
    """The attribute, and the offers: rule ``n`` is met by those of an age above ``n``."""
    found: list[tuple[str, str, dict[str, Any]]] = [("attribute", "customer.age", {"type": "int"})]
    for number in range(OFFERS):
        name = f"offer-{number:04d}"
        rule = {
            "name": f"over {number % RULES}",
            "tier": "eligibility",
            "when": f"customer.age > {number % RULES}",
        }
        found.append(("offer", name, {"name": name, "group": "cards", "value": 1.0, "rules": [rule]}))
        treatment = {"channel": "web", "language": "en", "title": name, "message": ""}
        found.append(("treatment", f"{name}/banner", treatment))
    return found


async def test_a_thousand_offers_with_two_hundred_rules(shop: Nextbest) -> None:
    api = shop.api
    changes = entries()
    published = await CatalogueStore(api.state.engine).apply(changes, "test", "many")
    await api.ok("PUT", "/v1/placements/patient", json={"channel": "web", "slots": 3, "control_share": 0,
                                                        "deadline_ms": 60_000})  # fmt: skip
    customer: dict[str, Any] = {"attributes": {"age": 49}, "indicators": {}, "holdings": [], "interests": {}}
    await api.ok("PUT", "/v1/customers/ann", json=customer | {"consents": {}})

    async def seen() -> bool:
        return len(api.state.current_catalogue().offers) == OFFERS + 3

    await eventually(seen, "a catalogue with all offers")
    answer = await decide(api, "ann", "patient", explain=True)
    candidates = {c["offer_id"]: c for c in answer["explanation"]}
    assert len(candidates) == OFFERS + 3
    assert [o["offer_id"] for o in answer["offers"]] == [
        name for name, c in candidates.items() if c["result"] == "chosen"
    ]
    for number in range(OFFERS):
        candidate = candidates[f"offer-{number:04d}"]
        if number % RULES < 49:
            assert candidate["result"] in ("chosen", "ready")
        else:
            (stop,) = candidate["stops"]
            assert stop["name"] == f"over {number % RULES}"
            assert stop["observed"] == {"customer.age": 49}
    await shop.worker.drain()
    later = await api.ok("GET", f"/v1/decisions/{answer['decision_id']}/explanation")
    both = [
        [CandidateExplained.model_validate(c).model_dump(mode="json") for c in found]
        for found in (answer["explanation"], later["candidates"])
    ]
    assert to_json(both[0]) == to_json(both[1])
    assert published is not None

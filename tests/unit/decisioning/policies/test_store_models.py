"""Model files in specifications: offers frozen, and files shown by hash. Looked up in Postgres: the contract test."""

from typing import Any

import pytest

from decisioning.policies.store_models import freeze_offers, needs_look_up, shown_body
from tests.support.shop import catalogue_with, offer


def test_attributes_that_are_asked_for_are_frozen_by_number() -> None:
    shop = catalogue_with([offer(2, attributes={"margin": 3.5, "brand": "x"}), offer(1, value=9.0)])
    asked: list[dict[str, Any]] = [{"name": "margin"}, {"name": "which", "attribute": "offer_id"}]
    asked += [{"name": "aim", "attribute": "goal", "text": True}, {"name": "worth", "attribute": "value"}]
    assert freeze_offers(asked, shop.offers.values(), shop.groups) == {
        "1": {"offer_id": "o1", "goal": "grow", "value": 9.0},
        "2": {"margin": 3.5, "offer_id": "o2", "goal": "grow", "value": 2.0},
    }


@pytest.mark.parametrize(
    ("values", "needed"),
    [
        ({"algorithm": "onnx"}, True),
        ({"algorithm": "calibrated", "propensity_source": "mine@1"}, True),
        ({"algorithm": "calibrated", "propensity_source": {"policy": "mine@1"}}, False),
        ({"algorithm": "thompson"}, False),
        (["onnx"], False),
    ],
)
def test_only_what_names_something_is_looked_up(values: Any, needed: bool) -> None:
    assert needs_look_up(values) is needed


def test_files_are_shown_by_their_hash() -> None:
    body = {"algorithm": "onnx", "parameters": {"model": "AAAA", "sha256": "ab", "epsilon": 0.1}}
    shown = {"model": "sha256:ab", "sha256": "ab", "epsilon": 0.1}
    assert shown_body(body)["parameters"] == shown
    assert body["parameters"] == {"model": "AAAA", "sha256": "ab", "epsilon": 0.1}
    source = {"policy": "mine@1", "parameters": body["parameters"], "features": []}
    assert (
        shown_body({"algorithm": "calibrated", "propensity_source": source})["propensity_source"] == "mine@1"
    )
    assert shown_body({"algorithm": "thompson"}) == {"algorithm": "thompson"}

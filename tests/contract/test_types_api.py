"""Declared types hold at every door: values are converted, or refused with the reason, and whole numbers stay whole."""

import io
from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from tests.support.api import CSV, Instance, Nextbest, decide, problem_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARQUET = {"Content-Type": "application/vnd.apache.parquet"}
CARD = 2**53 + 1
TYPES = {"zip": "string", "card": "int", "rate": "number", "since": "timestamp", "vip": "bool"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(nextbest: Nextbest) -> AsyncIterator[Nextbest]:
    """An offer for the card of one number, with that number in its text; and one for everybody."""
    api = nextbest.api
    for name, type_ in TYPES.items():
        await api.ok("PUT", f"/v1/attributes/customer.{name}", json={"type": type_})
    await api.ok("PUT", "/v1/groups/cards", json={"name": "Cards", "goal": "grow"})
    rule = {"name": "own card", "tier": "eligibility", "when": f"customer.card == {CARD}"}
    await api.ok("PUT", "/v1/offers/own", json={"name": "x", "group": "cards", "rules": [rule]})
    text: dict[str, Any] = {"channel": "web", "title": "{{ customer.card }} {{ customer.card | round }}"}
    text["fallbacks"] = {"customer.card": "-"}
    await api.ok("PUT", "/v1/offers/own/treatments/web", json=text)
    await api.ok("PUT", "/v1/placements/home", json={"channel": "web", "deadline_ms": 5000})
    yield nextbest


async def by_put(api: Instance, attributes: dict[str, Any]) -> list[str]:
    """Store a customer by PUT; the fields that were refused."""
    response = await api.replace("/v1/customers/typed", json={"attributes": attributes})
    if response.status_code == 200:
        return []
    return [error["field"].removeprefix("attributes.") for error in problem_of(response, 422)["errors"]]


async def by_csv(api: Instance, attributes: dict[str, Any]) -> list[str]:
    """The same by a CSV file."""
    cells = ",".join(str(value) for value in attributes.values())
    content = ",".join(["customer_id", *attributes]) + f"\ntyped,{cells}\n"
    report = await api.ok("POST", "/v1/imports/customers", content=content, headers=CSV)
    return [refusal["field"] for refusal in report["refusals"]]


async def by_parquet(api: Instance, attributes: dict[str, Any]) -> list[str]:
    """The same by a Parquet file."""
    out = io.BytesIO()
    pq.write_table(pa.table({"customer_id": ["typed"], **{n: [v] for n, v in attributes.items()}}), out)
    report = await api.ok("POST", "/v1/imports/customers", content=out.getvalue(), headers=PARQUET)
    return [refusal["field"] for refusal in report["refusals"]]


DOORS = [by_put, by_csv, by_parquet]


@pytest.mark.parametrize("store", DOORS)
async def test_text_stays_text_and_numbers_as_text_become_numbers(shop: Nextbest, store: Any) -> None:
    given = {"zip": "08001", "card": str(CARD), "rate": "0.5", "vip": "true", "since": "2026-03-01"}
    assert await store(shop.api, given) == []
    found = (await shop.api.ok("GET", "/v1/customers/typed"))["attributes"]
    assert found == {"zip": "08001", "card": CARD, "rate": 0.5, "vip": True, "since": "2026-03-01"}
    for text in ("12E3", "28002", "true"):
        assert await store(shop.api, {"zip": text}) == []
        assert (await shop.api.ok("GET", "/v1/customers/typed"))["attributes"] == {"zip": text}


@pytest.mark.parametrize("store", DOORS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("card", "12x"),
        ("card", "1.5"),
        ("rate", "much"),
        ("vip", "yes"),
        ("since", "2026-02-30"),
        ("since", "20260229"),
        ("max_contacts_per_day", "twice"),
        ("min_gap_s", "an hour"),
    ],
)
async def test_what_is_not_of_the_declared_type_is_refused(
    shop: Nextbest, store: Any, name: str, value: Any
) -> None:
    await shop.api.ok("PUT", "/v1/customers/typed", json={"attributes": {"rate": 1.5}})
    assert await store(shop.api, {name: value}) == [name]
    assert (await shop.api.ok("GET", "/v1/customers/typed"))["attributes"] == {"rate": 1.5}


@pytest.mark.parametrize("store", DOORS)
async def test_whole_numbers_stay_what_they_are_in_rules_and_texts(shop: Nextbest, store: Any) -> None:
    for card, title in ((CARD, f"{CARD} {CARD}"), (CARD - 1, None), (CARD + 1, None)):
        assert await store(shop.api, {"card": card}) == []
        assert (await shop.api.ok("GET", "/v1/customers/typed"))["attributes"] == {"card": card}
        for _ in range(2):  # from Postgres, then from the cache
            offers = (await decide(shop.api, "typed"))["offers"]
            assert [offer["treatment"]["title"] for offer in offers] == ([] if title is None else [title])


async def test_whole_numbers_beyond_64_bits_are_refused(shop: Nextbest) -> None:
    for name in ("card", "undeclared"):
        response = await shop.api.call("PUT", "/v1/customers/typed", json={"attributes": {name: 2**63}})
        problem_of(response, 422, f"attributes.{name}")


@pytest.mark.parametrize("store", DOORS)
async def test_wishes_that_limit_contact_count_as_text_too(shop: Nextbest, store: Any) -> None:
    await shop.api.ok("PUT", "/v1/customers/typed", json={"attributes": {"card": CARD}})
    assert (await decide(shop.api, "typed", dry_run=True))["offers"]
    assert await store(shop.api, {"card": CARD, "max_contacts_per_day": "0"}) == []
    assert not (await decide(shop.api, "typed", dry_run=True))["offers"]

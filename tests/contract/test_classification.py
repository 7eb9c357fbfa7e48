"""Classified attributes: what pages, scientists and exports are not told."""

import asyncio
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from app.cli import app
from app.config import Settings
from tests.support.api import Nextbest, decide, problem_of
from tests.support.publishable import Page, publish, sign

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET, NAME, CITY, MOOD = "Sensitive-77123", "Personal-88123", "Public-99123", "Mood-66123"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shown(shop: Nextbest) -> Nextbest:
    """A customer with values of each class, and an offer whose text and rules look at them."""
    api = shop.api
    for path, classification in (
        ("customer.illness", "sensitive"),
        ("customer.first_name", None),
        ("customer.city", "public"),
        ("context.mood", "sensitive"),
    ):
        told = {"type": "string"} | ({"classification": classification} if classification else {})
        await api.ok("PUT", f"/v1/attributes/{path}", json=told)
    title = " ".join(
        f"{{{{ customer.{name} | default('-') }}}}" for name in ("first_name", "city", "illness")
    )
    treatment = {"channel": "web", "language": "en", "title": title}
    rule = {"name": "well", "tier": "eligibility", "when": "customer.illness != 'x' && context.mood != 'x'"}
    refusing = rule | {"when": "customer.illness == 'x' && context.mood == 'x'"}
    for offer, when in (("greeted", rule), ("refused", refusing)):
        body: dict[str, Any] = {"name": offer, "group": "cards", "rules": [when]}
        await api.ok("PUT", f"/v1/offers/{offer}", json=body)
        await api.ok("PUT", f"/v1/offers/{offer}/treatments/home", json=treatment)
    attributes = {"illness": SECRET, "first_name": NAME, "city": CITY}
    await api.ok("PUT", "/v1/customers/ann", json={"attributes": attributes})
    place = {"channel": "web", "control_share": 0, "deadline_ms": 5000, "slots": 9}
    facts = ["customer.illness", "customer.city", "context.mood"]
    await api.ok("PUT", "/v1/placements/home", json=place | {"log_facts": facts})
    return shop


async def test_the_default_is_personal_and_others_are_refused(shown: Nextbest) -> None:
    found = await shown.api.ok("GET", "/v1/attributes/customer.first_name")
    assert found["classification"] == "personal"
    body = {"type": "string", "classification": "secret"}
    problem_of(await shown.api.call("PUT", "/v1/attributes/customer.other", json=body), 422, "classification")


async def test_pages_are_shown_what_is_public_alone(shown: Nextbest) -> None:
    inside = await decide(shown.api, "ann", "home", context={"mood": MOOD})
    titles = {one["offer_id"]: one["treatment"]["title"] for one in inside["offers"]}
    assert titles["greeted"] == f"{NAME} {CITY} {SECRET}"
    page = Page(shown.api, await publish(shown.api))
    for _ in range(2):
        body = {"customer_token": sign("ann"), "decision_id": "pub-0123456789abcdef"}
        answer = await page.decide(**body, context={"mood": MOOD})
        titles = {one["offer_id"]: one["treatment"]["title"] for one in answer["offers"]}
        assert titles["greeted"] == f"- {CITY} -"
        assert not any(value in str(answer) for value in (SECRET, NAME, MOOD))


async def test_scientists_are_not_shown_what_is_sensitive(shown: Nextbest) -> None:
    api = shown.api
    made = await decide(api, "ann", "home", context={"mood": MOOD}, explain=True)
    assert not any(value in str(made["explanation"]) for value in (SECRET, MOOD))
    await shown.worker.drain()
    paths = (
        "/v1/customers/ann",
        f"/v1/decisions/{made['decision_id']}",
        f"/v1/decisions/{made['decision_id']}/explanation",
    )
    for path in paths:
        told = {role: await api.ok("GET", path, role=role) for role in ("ops", "scientist")}
        for offer in (one for each in told.values() for one in each.get("offers", ())):
            offer["treatment"] = None  # it was shown to the customer as it is
        assert SECRET in str(told["ops"])
        assert not any(value in str(told["scientist"]) for value in (SECRET, MOOD)), path
    assert (await api.ok("GET", paths[0], role="scientist"))["attributes"] == {
        "first_name": NAME,
        "city": CITY,
    }


async def test_exports_have_what_is_sensitive_only_if_it_is_asked_for(
    shown: Nextbest, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("postgres_url", "redis_url", "buckets"):
        monkeypatch.setenv(f"NEXTBEST_{name.upper()}", str(getattr(settings, name)))

    await shown.worker.drain()

    async def export(kind: str, folder: Path, *words: str) -> tuple[int, str]:
        command = ["export", kind, "--out", str(folder), *words]
        result = await asyncio.to_thread(CliRunner().invoke, app, command)
        return result.exit_code, result.output

    for kind in ("customers", "decisions", "features", "outcomes"):
        said: dict[str, Any] = {}
        for name, words in (("usual", ()), ("all", ("--include", "sensitive"))):
            status, output = await export(kind, tmp_path / name, *words)
            assert status == 0, output
            said[name] = str(pq.read_table(tmp_path / name / kind).to_pylist())
        assert not any(value in said["usual"] for value in (SECRET, MOOD)), kind
        assert CITY in said["usual"] or kind == "outcomes"
        assert SECRET in said["all"] or kind == "outcomes"
    status, output = await export("customers", tmp_path / "usual", "--include", "sensitive")
    assert (status, "use another folder" in output) == (1, True)
    body = {"kind": "customers", "include": ["sensitive"]}
    problem_of(await shown.api.call("POST", "/v1/exports", json=body, role="scientist"), 403, "include")
    asked = await shown.api.ok("POST", "/v1/exports", json=body)
    assert asked["include"] == ["sensitive"]
    await shown.worker.export()
    done = await shown.api.ok("GET", f"/v1/exports/{asked['export_id']}", role="scientist")
    one = done["files"][0]
    path = f"/v1/exports/{asked['export_id']}/files/{one['day']}/{one['name']}"
    problem_of(await shown.api.call("GET", path, role="scientist"), 403)
    assert (await shown.api.call("GET", path)).status_code == 200
    problem_of(
        await shown.api.call("POST", "/v1/exports", json=body | {"include": ["all"]}), 422, "include.0"
    )

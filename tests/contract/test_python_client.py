"""The Python client against a running service: as its page and its examples use it."""

import asyncio
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples import desk, django_shop, fastapi_shop, wsgi_shop
from nextbest_client import AsyncClient, Client, Refused
from tests.support.api import _WithState
from tests.support.installation import START_S

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "python-client.md").read_text(encoding="utf-8")
SERVER_PACKAGES = ("app", "bandits", "decisioning", "profiles", "rules", "storage", "demo", "migrations")


@pytest.fixture(scope="module")
def shop(environment: dict[str, str]) -> tuple[str, str]:
    """Address and key of a service with two offers, and the placements `home` and `desk`."""
    url, key = environment["URL"], environment["KEY"]
    with Client(url, key, timeout_s=30.0) as client:
        client.request("PUT", "/v1/groups/cards", {"name": "Cards", "goal": "grow"})
        client.request("PUT", "/v1/event-types/call", {"name": "Call"})
        for offer_id in ("gold", "silver"):
            client.request("PUT", f"/v1/offers/{offer_id}", {"name": offer_id, "group": "cards"})
            treatment = {"channel": "web", "language": "en", "title": f"The {offer_id} card"}
            client.request("PUT", f"/v1/offers/{offer_id}/treatments/banner", treatment)
        for placement, presentation in (("home", "implicit"), ("desk", "explicit")):
            body = {
                "channel": "web",
                "slots": 2,
                "presentation": presentation,
                "control_share": 0,
                "deadline_ms": 5000,
            }
            client.request("PUT", f"/v1/placements/{placement}", body)
    return url, key


def outcomes_of(shop: tuple[str, str], decision_id: str) -> list[tuple[str, str]]:
    """What the service knows of a decision: offers and outcomes."""
    with Client(*shop, timeout_s=30.0) as client:
        record = client.request("GET", f"/v1/decisions/{decision_id}")
    return [(found["offer_id"], found["outcome"]) for found in record["outcomes"]]


def test_the_page_is_true(shop: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"^<!-- test:client -->\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"url": shop[0], "key": shop[1]}
    exec(block.replace("timeout_s=0.5", "timeout_s=30.0"), names)  # however busy the machine is
    decision, client = names["decision"], names["client"]
    assert not decision.local
    assert {line.split(" ", 1)[1] for line in capsys.readouterr().out.splitlines()} == {
        "gold The gold card",
        "silver The silver card",
    }
    assert client.outbox.sent == 2
    first = decision.offers[0].offer_id
    assert set(outcomes_of(shop, decision.decision_id)) == {
        ("gold", "presented"),
        ("silver", "presented"),
        (first, "accepted"),
    }


def test_what_was_told_is_sent_when_the_program_ends(shop: tuple[str, str]) -> None:
    program = (
        "import sys\nfrom nextbest_client import Client\n"
        "client = Client(*sys.argv[1:], timeout_s=30.0)\n"
        "decision = client.decide('leaver', 'home')\n"
        "client.tell(decision, decision.offers[0], 'clicked')\n"
        "print(decision.decision_id, decision.offers[0].offer_id)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *shop], capture_output=True, text=True, timeout=START_S, check=True
    )
    decision_id, offer_id = done.stdout.split()
    assert (offer_id, "clicked") in outcomes_of(shop, decision_id)


def test_it_needs_nothing_of_the_service() -> None:
    program = "import json, sys, nextbest_client; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=START_S, check=True
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {*SERVER_PACKAGES, "fastapi", "sqlalchemy", "redis", "numpy", "pydantic"}


async def test_the_client_for_event_loops(shop: tuple[str, str]) -> None:
    async with AsyncClient(*shop, timeout_s=30.0) as client:
        decision = await client.decide("bob", "home", limit=1)
        assert decision.warnings == ()
        (warning,) = (await client.decide("bob", "home", limit=9)).warnings
        assert warning.keys() == {"field", "message", "way_out"}
        assert warning["field"] == "limit"
        assert client.tell(decision, decision.offers[0], "presented")
        assert await client.feedback(decision, decision.offers[0], "accepted", value=3.0) == "recorded"
        assert await client.event("bob", "call", {"minutes": 7.5}, event_id="call-1") == "recorded"
        assert client.track("bob", "call", event_id="call-1")
        assert (await client.decide("bob", "home", decision_id=decision.decision_id)).raw == decision.raw
        with pytest.raises(Refused, match="there is no placement"):
            await client.decide("bob", "nowhere")
    assert (client.outbox.sent, client.event_outbox.sent) == (1, 1)


async def test_the_shop_with_fastapi(shop: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_NEXTBEST_URL", shop[0])
    monkeypatch.setenv("SHOP_NEXTBEST_KEY", shop[1])
    monkeypatch.setattr(fastapi_shop, "TIMEOUT_S", 30.0)
    async with fastapi_shop.lifespan(fastapi_shop.app) as state:
        transport = httpx.ASGITransport(_WithState(fastapi_shop.app, dict(state)))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as browser:
            (first, _) = (await browser.get("/banners/carl")).json()
            assert first["title"] == f"The {first['offer_id']} card"
            seen = {"decision_id": first["decision_id"], "offer_id": first["offer_id"], "outcome": "clicked"}
            assert (await browser.post("/seen", json=seen)).status_code == 202
    told = await asyncio.to_thread(outcomes_of, shop, first["decision_id"])
    assert (first["offer_id"], "clicked") in told


def test_the_shop_with_django(shop: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_NEXTBEST_URL", shop[0])
    monkeypatch.setenv("SHOP_NEXTBEST_KEY", shop[1])
    monkeypatch.setattr(django_shop, "TIMEOUT_S", 30.0)
    transport = httpx.WSGITransport(django_shop.application)
    with httpx.Client(transport=transport, base_url="http://shop") as browser:
        answer = browser.get("/banners/emil")
        first, _ = answer.json()
        assert first["title"] == f"The {first['offer_id']} card"
        seen = {"decision_id": first["decision_id"], "offer_id": first["offer_id"], "outcome": "clicked"}
        assert browser.post("/seen", json=seen).status_code == 403, (
            "another site can make a browser send this"
        )
        headers = {"X-CSRFToken": browser.cookies["csrftoken"]}
        for wrong in ({}, seen | {"outcome": "accepted"}):
            assert browser.post("/seen", json=wrong, headers=headers).status_code == 400
        assert browser.post("/seen", content=b"{", headers=headers).status_code == 400
        assert browser.post("/seen", json=seen, headers=headers).status_code == 202
    django_shop.nextbest().close()
    assert (first["offer_id"], "clicked") in outcomes_of(shop, first["decision_id"])


def test_the_shop_with_wsgi(shop: tuple[str, str]) -> None:
    with Client(*shop, timeout_s=30.0) as client:
        transport = httpx.WSGITransport(wsgi_shop.application(client))
        with httpx.Client(transport=transport, base_url="http://shop") as browser:
            shown = browser.get("/", params={"customer": "dora"}).json()
    assert {banner["title"] for banner in shown} == {"The gold card", "The silver card"}
    told = outcomes_of(shop, shown[0]["decision_id"])
    assert {(banner["offer_id"], "presented") for banner in shown} <= {*told}
    with Client("http://127.0.0.1:9", "x", timeout_s=0.2) as away:
        assert wsgi_shop.banners(away, "dora") == []


def test_the_desk(shop: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    answers = io.StringIO("n\ny\n")
    with Client(*shop, timeout_s=30.0) as client:
        decision = desk.talk(client, "erik", "cancel", lambda _: answers.readline())
    first, second = (offer.offer_id for offer in decision.offers)
    assert f"The {first} card" in capsys.readouterr().out
    expected = {(first, "presented"), (first, "rejected"), (second, "presented"), (second, "accepted")}
    assert {*outcomes_of(shop, decision.decision_id)} == expected

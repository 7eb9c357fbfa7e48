"""What is known of a customer, and who it is, stands neither in lines of the log nor in metrics and spans."""

import asyncio
import json
import logging
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from sqlalchemy import text

from app.telemetry import log_formatter
from app.worker import jobs
from decisioning.decide.policy_runner import PolicyRunner
from profiles.store import ProfileStore
from storage.postgres import transaction
from tests.support.api import CSV, Instance, Nextbest, Worker, decide, running, tell
from tests.support.spans import Memory

pytestmark = pytest.mark.asyncio(loop_scope="module")

PACKAGES = ("app", "bandits", "decisioning", "profiles", "rules", "storage", "uvicorn", "redis", "sqlalchemy")
CANARY = "Zaphod-42-Zanzibar"
NUMBER = 73_911_042.25
PLANTED = (CANARY, "73911042")


async def test_a_planted_value_is_in_no_line_no_metric_and_no_span(
    shop: Nextbest, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory()
    worker = Worker(shop.settings, memory.tracing.folded)
    async with running(shop.settings, shop.api.keys, memory.tracing) as api:
        # A process that starts has taken all other handlers away.
        logging.getLogger().addHandler(caplog.handler)
        caplog.set_level(logging.DEBUG)
        await plant(api)
        await send_what_is_wrong(api)
        await fail(api, monkeypatch)
        await worker.drain()
        await worker.learn()
        await api.ok("POST", f"/v1/customers/{CANARY}/erase", json={"reason": "asked"})
        metrics = (await api.call("GET", "/metrics", role=None)).text
    await worker.close()
    # The client of these tests logs what it asks.
    ours = [record for record in caplog.records if record.name.partition(".")[0] in PACKAGES]
    said = [record.getMessage() for record in ours]
    for expected in ("a defect in GET", "policy", "unavailable: ", "a defect in planted"):
        assert any(line.startswith(expected) for line in said), (expected, said)
    for form in ("text", "json"):
        formatter = log_formatter(form)
        lines = [formatter.format(record) for record in ours]
        assert any("message withheld" in line for line in lines)
        assert [line for line in lines if any(value in line for value in PLANTED)] == []
    spans = [json.dumps(told(span)) for span in memory.spans()]
    assert len(spans) > 20
    assert [span for span in spans if any(value in span for value in PLANTED)] == []
    assert [line for line in metrics.splitlines() if any(value in line for value in PLANTED)] == []


async def plant(api: Instance) -> None:
    """Plant the values in each field of a customer, a context, an event, feedback and files."""
    body = {
        "attributes": {"name": CANARY, "income": NUMBER},
        "indicators": {CANARY: NUMBER},
        "holdings": [CANARY],
        "interests": {CANARY: NUMBER},
        "consents": {CANARY: ["web"]},
        "objections": {f"{CANARY}-2": ["*"]},
        "consent_records": [
            {"purpose": CANARY, "channel": "web", "given": True, "source": CANARY, "proof": CANARY}
        ],
    }
    path = f"/v1/customers/{CANARY}"
    await api.ok("PUT", path, json=body)
    await api.ok("PATCH", path, json={"attributes": {CANARY: CANARY}})
    await api.ok("GET", f"{path}/consents")
    await api.ok("POST", "/v1/customers/search", json={"text": CANARY}, role="agent")
    note = {"text": CANARY, "reason": CANARY, "decision_id": CANARY}
    await api.ok("POST", f"{path}/notes", json=note, role="agent")
    await api.ok("GET", f"{path}/notes", role="agent")
    await api.ok("PUT", f"/v1/suppressions/list/{CANARY}-3", json={"reason": CANARY})
    schema = {"type": "object", "properties": {"page": {"type": "string"}, "n": {"type": "number"}}}
    visit = {"name": "Visit", "personal": ["page"], "json_schema": schema}
    await api.ok("PUT", "/v1/event-types/visit", json=visit)
    event = {
        "customer_id": CANARY,
        "type": "visit",
        "event_id": CANARY,
        "properties": {"page": CANARY, "n": 7391.5},
    }
    await api.ok("POST", "/v1/events", json=event, role="frontend")
    answer = await decide(api, CANARY, "home", context={"page": CANARY, "n": NUMBER})
    await tell(api, answer["decision_id"], answer["offers"][0]["offer_id"], "accepted")
    own = await decide(api, CANARY, "home", decision_id=CANARY)
    item = {
        "decision_id": CANARY,
        "offer_id": own["offers"][0]["offer_id"],
        "outcome": "clicked",
        "value": NUMBER,
    }
    await api.ok("POST", "/v1/feedback", json=item, role="frontend")
    await api.ok("GET", f"{path}/export")


async def send_what_is_wrong(api: Instance) -> None:
    """Send the values where they are refused: bodies, batches, paths, queries and files of each kind."""
    wrong = {"customer_id": CANARY, "placement": CANARY, "limit": CANARY, CANARY: NUMBER}
    await api.call("POST", "/v1/decisions", json=wrong)
    await api.call("POST", "/v1/decisions/batch", json={"items": [wrong], "customer_ids": [CANARY]})
    await api.call("POST", "/v1/decisions", content=f'{{"{CANARY}": '.encode())
    await api.call("PUT", f"/v1/customers/{CANARY}", json={"attributes": {"name": [CANARY]}})
    await api.call("PUT", f"/v1/customers/{CANARY}", json={})
    stated = [{"purpose": CANARY, "channel": CANARY, "given": CANARY}]
    await api.call("PATCH", f"/v1/customers/{CANARY}", json={"consent_records": stated})
    await api.call("POST", f"/v1/customers/{CANARY}/notes", json={"text": [CANARY], CANARY: CANARY})
    await api.call("DELETE", f"/v1/customers/{CANARY}/notes/{CANARY}")
    await api.call("POST", "/v1/customers/search", json={"text": [CANARY], CANARY: CANARY})
    told = {"decision_id": CANARY, "offer_id": CANARY, "outcome": CANARY, "value": NUMBER}
    await api.call("POST", "/v1/feedback", json=told)
    await api.call("POST", "/v1/feedback/batch", json={"items": [told, {CANARY: CANARY}]})
    event = {"customer_id": CANARY, "type": CANARY, "event_id": CANARY, "properties": {CANARY: [[CANARY]]}}
    await api.call("POST", "/v1/events", json=event)
    await api.call("POST", "/v1/events/batch", json={"events": [event, event | {"type": "visit"}]})
    await api.call("GET", f"/v1/{CANARY}/{CANARY}", params={CANARY: CANARY})
    await api.call("GET", f"/v1/customers/{CANARY}/decisions", params={"before": CANARY})
    for kind in ("customers", "consents", "propensities", "suppressions", "registers", "history"):
        for header in (f"customer_id,attributes.age,{CANARY}", "customer_id,purpose,channel,given"):
            content = f"{header}\n{CANARY},{CANARY},{CANARY},{CANARY}\n{CANARY}\n".encode()
            await api.call("POST", f"/v1/imports/{kind}", content=content, headers=CSV)


async def fail(api: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let things fail with messages that quote the values: a defect, a policy, a driver, and a job of the worker."""

    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError(f"could not convert {CANARY!r}, {NUMBER} of {CANARY}")

    async def broken_later(*_: Any, **__: Any) -> Any:
        broken()

    async def refused(*_: Any, **__: Any) -> Any:
        async with transaction(api.state.engine) as connection:
            await connection.execute(text(f"SELECT cast('{CANARY}' AS integer)"))

    with monkeypatch.context() as patched:
        patched.setattr(ProfileStore, "load", broken_later)
        with pytest.raises(ValueError, match=CANARY):
            await api.call("GET", f"/v1/customers/{CANARY}")
        patched.setattr(ProfileStore, "load", refused)
        assert (await api.call("GET", f"/v1/customers/{CANARY}")).status_code == 503
    with monkeypatch.context() as patched:
        select: Any = PolicyRunner._select
        calls = iter([broken])
        patched.setattr(PolicyRunner, "_select", lambda *values: next(calls, select)(*values))
        answer = await decide(api, CANARY, "home", context={"page": CANARY})
        assert "policy_failed" in answer["degraded"]
    failed = asyncio.Event()

    async def broken_round() -> float:
        failed.set()
        broken()
        return 0.0

    task = asyncio.create_task(jobs.repeat("planted", broken_round))
    await failed.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def told(span: ReadableSpan) -> Any:
    """All that a span tells."""
    return json.loads(span.to_json())

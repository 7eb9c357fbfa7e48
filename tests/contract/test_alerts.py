"""Alerts: declared in the catalogue, looked at, told to a signed webhook again and again, and shown."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from app.worker.alerting.jobs import AlertWatch, WebhookTeller
from app.worker.alerting.webhook import Webhooks
from decisioning.capacity.leasing import TOTAL
from decisioning.capacity.store_pools import CapacityLog, Pools
from decisioning.capacity.store_replenish import CapacityKeeper
from decisioning.reporting.store_alert_checks import AlertChecks
from decisioning.reporting.store_alerts import RETRY_S, AlertStore
from storage import clock
from tests.support.api import Nextbest, decide, problem_of, tell
from tests.support.receiver import WRITTEN_SECRET, receiving, signature_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Alerting:
    """The jobs of alerts, one round at a time."""

    nextbest: Nextbest
    watch: AlertWatch
    teller: WebhookTeller

    async def tell(self) -> None:
        """Send all that is due, whatever time it is to be sent at."""
        await self.sql("UPDATE alert_deliveries SET next_at = now() WHERE next_at IS NOT NULL")
        await self.teller.round()
        while await self.teller.round() == 0.0:
            pass

    async def sql(self, statement: str, **values: Any) -> None:
        """Run a statement."""
        async with self.nextbest.api.state.engine.begin() as connection:
            await connection.execute(text(statement), values)

    async def shown(self, alert_id: str) -> list[dict[str, Any]]:
        """What is shown of an alert."""
        answer = await self.nextbest.api.ok("GET", "/v1/alerts", role="ops")
        return [alert for alert in answer["alerts"] if alert["alert_id"] == alert_id]

    async def reported(self, capacity_id: str, units: int, held: bool = False) -> None:
        """Wait until the process has reported so many units of a pool as used, or (``held``) as held by decisions."""

        async def are_there() -> bool:
            answer = await self.nextbest.api.ok("GET", "/v1/reports/capacity", role="scientist")
            (usage,) = [one for one in answer["capacities"] if one["capacity_id"] == capacity_id]
            return bool(usage["held" if held else "used"] == units)

        await eventually(are_there, f"{units} units of {capacity_id} to be reported")

    async def declare(self, alert_id: str, **fields: Any) -> None:
        """Put an alert."""
        await self.nextbest.api.ok("PUT", f"/v1/alert-rules/{alert_id}", json=fields, role="ops")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alerting(shop: Nextbest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Alerting]:
    """The jobs, with a secret, and loopback allowed."""
    secrets: Path = tmp_path_factory.mktemp("secrets")
    (secrets / "ops").write_text(f"{WRITTEN_SECRET}\n")
    state = shop.api.state
    store = AlertStore(state.engine)
    checks = AlertChecks(
        state.engine, state.log_reader, state.archive, Pools(state.pipe, state.keys), clock.now_ms
    )
    webhooks = Webhooks(secrets, {"127.0.0.1"}, time.time)
    yield Alerting(
        shop,
        AlertWatch(store, checks, state.catalogues, clock.now_ms),
        WebhookTeller(store, state.catalogues, webhooks),
    )
    await webhooks.close()


async def given_gold(nextbest: Nextbest, units: int) -> list[str]:
    """Decide at the desk for one customer after another until `gold` was in so many answers; returns the decisions."""
    decisions: list[str] = []

    async def enough() -> bool:
        answer = await decide(nextbest.api, f"wants gold {len(decisions)}", "desk")
        if any(offer["offer_id"] == "gold" for offer in answer["offers"]):
            decisions.append(answer["decision_id"])
        return len(decisions) == units

    await eventually(enough, f"{units} units to be given")
    return decisions


async def test_an_alert_fires_is_told_and_is_resolved(alerting: Alerting) -> None:
    api = alerting.nextbest.api
    async with receiving() as receiver:
        await alerting.declare("full", watches="capacity_used", webhook=receiver.url, secret="ops")
        body = {"name": "calls", "max": 4, "per": "total", "offer": "gold"}
        await api.ok("PUT", "/v1/capacities/calls", json=body)
        await given_gold(alerting.nextbest, 3)
        await alerting.reported("calls", 3)
        await alerting.watch.round()
        assert await alerting.shown("full") == []
        await given_gold(alerting.nextbest, 1)
        await alerting.reported("calls", 4)
        await alerting.watch.round()
        await alerting.watch.round()
        (shown,) = await alerting.shown("full")
        assert (shown["subject"], shown["state"], shown["value"]) == ("calls/total", "firing", 1.0)
        assert shown["delivery"]["state"] == "waiting"
        await alerting.tell()
        await api.ok("PUT", "/v1/capacities/calls", json=body | {"max": 8})
        await alerting.watch.round()
        await alerting.tell()
        (shown,) = await alerting.shown("full")
        assert (shown["state"], shown["delivery"]["state"]) == ("resolved", "delivered")
        told = [json.loads(body) for _, body in receiver.requests]
        assert [t["type"] for t in told] == ["alert.firing", "alert.resolved"]
        assert told[0]["data"]["alert_id"] == "full"
        headers, raw = receiver.requests[0]
        assert headers["webhook-signature"] == signature_of(headers, raw)
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    await api.ok("DELETE", "/v1/alert-rules/full")


async def test_a_request_is_repeated_and_at_last_given_up(alerting: Alerting) -> None:
    async with receiving() as receiver:
        await alerting.declare(
            "behind", watches="archive_backlog", threshold=0, webhook=receiver.url, secret="ops"
        )
        await decide(alerting.nextbest.api, "waits")
        await alerting.watch.round()
        (shown,) = await alerting.shown("behind")
        assert (shown["state"], shown["subject"]) == ("firing", "archive")
        receiver.statuses = [503, 302] + [500] * len(RETRY_S)
        for _ in range(2):
            await alerting.tell()
        (shown,) = await alerting.shown("behind")
        assert (shown["delivery"]["attempts"], shown["delivery"]["error"]) == (2, "answered 302")
        assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == 1
        for _ in range(len(RETRY_S) + 2):
            await alerting.tell()
        (shown,) = await alerting.shown("behind")
        assert (shown["delivery"]["state"], shown["delivery"]["attempts"]) == ("given_up", len(RETRY_S) + 1)
        assert len(receiver.requests) == len(RETRY_S) + 1, "a redirect is not followed"
    await alerting.nextbest.worker.drain()
    await alerting.watch.round()
    (shown,) = await alerting.shown("behind")
    assert shown["state"] == "resolved"
    await alerting.nextbest.api.ok("DELETE", "/v1/alert-rules/behind")
    await alerting.watch.round()
    assert await alerting.shown("behind") == []


async def test_a_webhook_that_cannot_be_told_says_why(alerting: Alerting) -> None:
    await alerting.declare(
        "lost", watches="archive_backlog", threshold=0, webhook="https://10.0.0.1/x", secret="ops"
    )
    await decide(alerting.nextbest.api, "waits")
    await alerting.watch.round()
    await alerting.tell()
    (shown,) = await alerting.shown("lost")
    assert "is not public" in shown["delivery"]["error"]
    # As it is declared now: a mistake is mended without losing what was to be told.
    async with receiving() as receiver:
        await alerting.declare(
            "lost", watches="archive_backlog", threshold=0, webhook=receiver.url, secret="none"
        )
        await alerting.tell()
        (shown,) = await alerting.shown("lost")
        assert "secret 'none' cannot be read" in shown["delivery"]["error"]
        await alerting.declare(
            "lost", watches="archive_backlog", threshold=0, webhook=receiver.url, secret="ops"
        )
        await alerting.tell()
        assert (await alerting.shown("lost"))[0]["delivery"]["state"] == "delivered"
    await alerting.nextbest.worker.drain()
    await alerting.nextbest.api.ok("DELETE", "/v1/alert-rules/lost")


async def test_acceptance_drift_exploration_and_degraded_shares_are_watched(alerting: Alerting) -> None:
    hours = "INSERT INTO acceptance (hour, placement, policy, offer_id, grp, decided, accepted_closed, ignored) VALUES "
    ago = "(date_trunc('hour', now()) - interval '{} hours', 'home', 'calibrated@1', '{}', 'champion', {}, {}, {})"
    rows = [
        ago.format(7 * 24 + 3, "gold", 500, 20, 480),
        ago.format(7 * 24 + 30, "gold", 500, 100, 400),
        ago.format(1, "gold", 500, 0, 0),
        ago.format(9, "silver", 0, 0, 5),
    ]
    await alerting.sql(hours + ", ".join(rows))
    await alerting.sql(
        "INSERT INTO drift_detections (placement, offer_id, detected_at, decision_id, since, rate_before, rate_after,"
        " observations_before, observations_after) VALUES ('home', 'gold', now(), 'd', now(), 0.2, 0.1, 500, 100)"
    )
    await alerting.sql(
        "INSERT INTO decisions (decision_id, decided_at, customer_id, placement, policy, bucket, position, header,"
        " candidates, priors) SELECT 'degraded-' || n, now(), 'c', 'home', 'calibrated@1', 0, '1-1',"
        " CAST(:header AS jsonb), '', '' FROM generate_series(1, 30) AS n",
        header='{"source": "live", "degraded": ["x"], "offers": []}',
    )
    await alerting.declare("drop", watches="acceptance_drop", placement="home", window_s=86_400)
    await alerting.declare("drift", watches="drift", offer="gold")
    await alerting.declare("died", watches="exploration_died")
    await alerting.declare("degraded", watches="degraded_share", placement="home")
    await alerting.watch.round()
    for name, subject, value in (
        ("drop", "home", 0.8),
        ("drift", "home/gold", 0.1),
        ("died", "home/calibrated@1", 1.0),
    ):
        (shown,) = await alerting.shown(name)
        assert (shown["subject"], shown["state"]) == (subject, "firing"), shown
        assert shown["value"] == pytest.approx(value, abs=0.02)
        assert shown["delivery"] is None
    (shown,) = await alerting.shown("degraded")
    assert shown["value"] > 0.5
    firing = await alerting.nextbest.api.ok("GET", "/v1/alerts?state=firing")
    assert {alert["alert_id"] for alert in firing["alerts"]} == {"drop", "drift", "died", "degraded"}
    assert (await alerting.nextbest.api.ok("GET", "/v1/alerts?state=resolved"))["alerts"] == []


async def test_firings_of_triggers_that_nobody_takes_are_watched(alerting: Alerting) -> None:
    api = alerting.nextbest.api
    await api.ok("PUT", "/v1/event-types/call", json={"name": "Call"})
    for name in ("told", "other", "fine"):
        body = {"on": {"event": "call"}, "placement": "home", "deliver": {"stream": "nb:triggered"}}
        await api.ok("PUT", f"/v1/triggers/{name}", json=body, role="ops")
    rows = (
        ("told", "failed", 9, "the webhook: answered 500", None, 0),
        ("told", "dropped", 1, "its time was over", None, 0),
        ("told", "decided", 3, "the webhook: answered 503", "d", 0),
        ("told", "failed", 9, "long ago", None, 7200),
        ("told", "dropped", 2, "stopped before it was sent by consent 'care'", "d", 0),
        ("told", "dropped", 1, "the trigger is not in the catalogue any more", None, 0),
        ("other", "failed", 1, "the webhook: answered 404", "d", 0),
        ("fine", "decided", 2, "the webhook: answered 503", "d", 0),
        ("fine", "delivered", 9, None, "d", 0),
        ("fine", "nothing", 1, "home: nothing was selected", None, 0),
    )
    for number, (trigger, status, attempts, reason, decision, ago_s) in enumerate(rows):
        await alerting.sql(
            "INSERT INTO trigger_firings (firing_id, trigger_id, catalogue_version, customer_id, occasion, cause,"
            " fired_at, deadline_at, status, attempts, status_reason, decision_id, updated_at) VALUES"
            " (gen_random_uuid(), :trigger, 1, 'c', :occasion, '{}', now(), now(), :status, :attempts, :reason,"
            " :decision, now() - cast(:ago AS integer) * interval '1 s')",
            trigger=trigger, occasion=f"event {number}", status=status, attempts=attempts, reason=reason,
            decision=decision, ago=ago_s,
        )  # fmt: skip
    await alerting.declare("undelivered", watches="trigger_failures", threshold=2)
    await alerting.declare("other", watches="trigger_failures", trigger="other")
    await alerting.watch.round()
    (shown,) = await alerting.shown("undelivered")
    assert (shown["subject"], shown["state"], shown["value"]) == ("told", "firing", 3)
    assert shown["message"].startswith("1 firings failed, 1 were dropped undecided, 1 are tried again")
    assert [one["subject"] for one in await alerting.shown("other")] == ["other"]
    await alerting.sql("UPDATE trigger_firings SET status = 'delivered' WHERE trigger_id = 'told'")
    await alerting.watch.round()
    assert [one["state"] for one in await alerting.shown("undelivered")] == ["resolved"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"watches": "weather"}, "watches"),
        ({"watches": "drift", "capacity": "calls"}, "capacity"),
        ({"watches": "drift", "offer": "none"}, "offer"),
        ({"watches": "degraded_share", "threshold": 5}, "threshold"),
        ({"watches": "archive_backlog", "threshold": -1}, "threshold"),
        ({"watches": "trigger_failures", "threshold": -1}, "threshold"),
        ({"watches": "trigger_failures", "trigger": "nowhere"}, "trigger"),
        ({"watches": "drift", "trigger": "told"}, "trigger"),
        ({"watches": "archive_backlog", "window_s": 60}, "window_s"),
        ({"watches": "drift", "webhook": "https://example.com"}, "secret"),
        ({"watches": "drift", "webhook": "https://a:b@example.com", "secret": "ops"}, "webhook"),
        ({"watches": "drift", "webhook": "mailto:a@example.com", "secret": "ops"}, "webhook"),
        ({"watches": "drift", "webhook": "https://example.com", "secret": "../x"}, "secret"),
        ({"watches": "drift", "webhook": "https://example.com", "secret": "whsec_aGVsbG8="}, "secret"),
        ({"watches": "drift", "secret": "whsec_aGVsbG8"}, "secret"),
    ],
)
async def test_alerts_that_make_no_sense(shop: Nextbest, body: dict[str, Any], field: str) -> None:
    problem_of(await shop.api.call("PUT", "/v1/alert-rules/odd", json=body), 422, field)


async def test_what_an_alert_watches_cannot_be_deleted(alerting: Alerting) -> None:
    body = {"name": "calls", "max": 4, "per": "total", "offer": "gold"}
    await alerting.nextbest.api.ok("PUT", "/v1/capacities/calls", json=body)
    await alerting.declare("near", watches="capacity_used", capacity="calls")
    problem_of(await alerting.nextbest.api.call("DELETE", "/v1/capacities/calls"), 422, "capacity")
    await alerting.nextbest.api.ok("DELETE", "/v1/alert-rules/near")
    await alerting.nextbest.api.ok("DELETE", "/v1/capacities/calls")


async def test_a_capacity_that_counts_acceptances_is_used_up_by_them_alone(alerting: Alerting) -> None:
    nextbest, state = alerting.nextbest, alerting.nextbest.api.state
    body = {"name": "sales", "max": 4, "per": "total", "offer": "gold", "counts": "accepted", "overbook": 0}
    await nextbest.api.ok("PUT", "/v1/capacities/sales", json=body)
    await alerting.declare("accepted", watches="capacity_used", capacity="sales", threshold=0.75)
    pools = alerting.watch.checks.pools
    keeper = CapacityKeeper(
        pools, CapacityLog(state.engine), state.log_reader, state.catalogues, clock.now_ms
    )

    async def counted(accepted: int) -> bool:
        await nextbest.worker.archive()
        await keeper.round()
        books = await pools.books("sales", TOTAL)
        return books is not None and books.counted == accepted

    await eventually(lambda: counted(0), "the pool to be open, with nothing accepted")
    first, second, third, _ = await given_gold(nextbest, 4)
    await alerting.reported("sales", 4, held=True)
    await alerting.watch.round()
    assert await alerting.shown("accepted") == []
    for decision_id in (first, second):
        await tell(nextbest.api, decision_id, "gold", "accepted")
    await eventually(lambda: counted(2), "two acceptances to be counted")
    await alerting.watch.round()
    assert await alerting.shown("accepted") == []
    await tell(nextbest.api, third, "gold", "accepted")
    await eventually(lambda: counted(3), "three acceptances to be counted")
    await alerting.watch.round()
    (shown,) = await alerting.shown("accepted")
    assert (shown["subject"], shown["state"], shown["value"]) == ("sales/total", "firing", 0.75)
    await nextbest.api.ok("DELETE", "/v1/alert-rules/accepted")
    await nextbest.api.ok("DELETE", "/v1/capacities/sales")

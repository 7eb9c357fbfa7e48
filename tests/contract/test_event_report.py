"""Events a day, by type."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from decisioning.reporting import store_event_report
from storage import clock
from tests.support.api import Nextbest, problem_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_events_are_counted_by_their_day_in_the_zone(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = shop.api
    for type_ in ("call", "visit"):
        await api.ok("PUT", f"/v1/event-types/{type_}", json={"name": type_})
    midnight = clock.to_datetime(clock.now_ms()).replace(hour=0, minute=0, second=0, microsecond=0)
    times = {"call": [-25, -1, -1, -26], "visit": [-1]}
    for type_, hours in times.items():
        for number, hour in enumerate(hours):
            at = (midnight + timedelta(hours=hour)).isoformat()
            event = {
                "event_id": f"{type_}{number}",
                "customer_id": f"c{number}",
                "type": type_,
                "occurred_at": at,
            }
            await api.ok("POST", "/v1/events", json=event)
    await shop.worker.drain()
    before, yesterday = (str((midnight - timedelta(days=days)).date()) for days in (2, 1))
    rows = [(before, "call", 2), (yesterday, "call", 2), (yesterday, "visit", 1)]

    async def counted(query: str = "") -> list[tuple[str, str, int]]:
        found = await api.ok("GET", f"/v1/reports/events{query}", role="scientist")
        return [(row["day"], row["type"], row["events"]) for row in found["rows"]]

    assert await counted() == rows
    assert await counted("?type=visit") == rows[2:]
    assert await counted(f"?since={yesterday}") == rows[1:]
    assert await counted(f"?until={yesterday}") == rows[:1]
    long_ago = await api.ok("GET", "/v1/reports/events?until=2020-03-29&time_zone=Europe/Madrid")
    assert (long_ago["since"], long_ago["rows"]) == ("2020-03-01", [])
    # In Kiribati it is tomorrow, by 14 hours: all that happened late on a day belongs to the next.
    later = [str((midnight - timedelta(days=days)).date()) for days in (1, 0)]
    moved = [(later[0], "call", 2), (later[1], "call", 2), (later[1], "visit", 1)]
    assert await counted("?time_zone=Pacific/Kiritimati") == moved
    problem_of(await api.call("GET", "/v1/reports/events?since=2026-01-02&until=2026-01-01"), 422, "until")
    monkeypatch.setattr(store_event_report, "TIMEOUT_S", 0.001)
    monkeypatch.setattr(
        store_event_report,
        "_COUNTS",
        text("SELECT pg_sleep(1), cast(:zone AS text), cast(:since AS timestamptz), :until, :type"),
    )
    problem_of(await api.call("GET", "/v1/reports/events"), 422, "since")

"""What is known of a customer, and who it is, stands neither in the lines of the log nor in metrics."""

import logging
from typing import Any

import pytest

from profiles.store import ProfileStore
from tests.support.api import CSV, Nextbest, decide, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")

PACKAGES = ("app", "bandits", "decisioning", "profiles", "rules", "storage", "uvicorn", "redis", "sqlalchemy")
CANARY = "Zaphod-42-Zanzibar"


async def test_a_planted_text_is_in_no_line_and_no_metric(
    shop: Nextbest, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    api, me = shop.api, CANARY
    body = {"attributes": {"name": CANARY}, "consents": {CANARY: ["web"]}}
    await api.ok("PUT", f"/v1/customers/{me}", json=body)
    answer = await decide(api, me, "home", context={"page": CANARY})
    await tell(api, answer["decision_id"], answer["offers"][0]["offer_id"], "accepted")
    # What is refused, what is wrong, and what fails.
    await api.call(
        "POST", "/v1/decisions", json={"customer_id": CANARY, "placement": CANARY, "limit": CANARY}
    )
    await api.call("PUT", f"/v1/customers/{me}", json={"attributes": {"name": [CANARY]}})
    await api.call(
        "POST", "/v1/feedback", json={"decision_id": CANARY, "offer_id": CANARY, "outcome": CANARY}
    )
    content = f"customer_id,attributes.age,{CANARY}\n{me},{CANARY},x\n".encode()
    await api.call("POST", "/v1/imports/customers", content=content, headers=CSV)
    with monkeypatch.context() as patched:
        patched.setattr(ProfileStore, "load", broken)
        with pytest.raises(ZeroDivisionError):
            await api.call("GET", f"/v1/customers/{me}")
    await shop.worker.drain()
    await api.ok("POST", f"/v1/customers/{me}/erase", json={"reason": "asked"})
    assert any("a defect in" in record.getMessage() for record in caplog.records)
    # The client of these tests logs what it asks.
    ours = [record for record in caplog.records if record.name.partition(".")[0] in PACKAGES]
    lines = [logging.Formatter().format(record) for record in ours]
    assert [line for line in lines if CANARY in line] == []
    assert CANARY not in (await api.call("GET", "/metrics", role=None)).text


async def broken(self: ProfileStore, *arguments: Any) -> Any:
    """Fail as a defect does, with a message that quotes nothing."""
    return 1 // 0

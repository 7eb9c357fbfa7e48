"""The demo as a client: the few calls that it makes, over HTTP like anybody else's."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from demo.names import HOLDOUT, WEB
from nextbest_client import AsyncClient, Retries

Json = dict[str, Any]

MAX_ATTEMPTS = 5
TIMEOUT_S = 10.0
_CONTENT_TYPES = {".parquet": "application/vnd.apache.parquet", ".csv": "text/csv"}


class DemoError(RuntimeError):
    """The demo cannot go on. The message says why, in words for the person who started it."""


@dataclass(slots=True)
class ApiClient:
    """An API address with a key. `http` is shared by all calls and closed by its owner."""

    http: httpx.AsyncClient
    _once: AsyncClient = field(init=False)
    """Asks once: what visitors wait for is measured, and what fails is counted."""
    _patient: AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self._once = AsyncClient(http=self.http, retries=Retries(attempts=1), timeout_s=TIMEOUT_S)
        retries = Retries(attempts=MAX_ATTEMPTS, first_s=0.1)
        self._patient = AsyncClient(http=self.http, retries=retries, timeout_s=MAX_ATTEMPTS * TIMEOUT_S)

    async def put(self, path: str, body: Json) -> None:
        """Create or replace something in the catalogue. Raises DemoError when it is refused."""
        self._check(await self.http.put(path, json=body))

    async def change(self, method: str, path: str, body: Json) -> Json:
        """Register, stage or propose something; returns the answer. Raises DemoError when it is refused."""
        return _object(self._check(await self.http.request(method, path, json=body)).json())

    async def decide(self, body: Json) -> Json:
        """Ask for a decision. Raises NextbestError."""
        return _object(await self._once.request("POST", "/v1/decisions", body))

    async def decision(self, decision_id: str) -> Json:
        """Read the record of a decision. Raises NextbestError."""
        return await self._get(f"/v1/decisions/{quote(decision_id, safe='')}")

    async def feedback(self, item: Json) -> str:
        """Send one outcome; the answer is `recorded`, `duplicate` or `late`. Raises NextbestError.

        Until it is acknowledged it is sent again, up to `MAX_ATTEMPTS` times: the service counts it once.
        """
        return str(_object(await self._patient.request("POST", "/v1/feedback", item))["status"])

    async def feedback_batch(self, items: list[Json]) -> list[str]:
        """Send many outcomes; one status for each, in no certain order. Raises NextbestError.

        Items that could not be stored just now are sent again; `refused` is what remains after `MAX_ATTEMPTS`.
        """
        return await self._batch("/v1/feedback/batch", items)

    async def events(self, items: list[Json]) -> list[str]:
        """Send events, at most 1,000; one status for each, as for outcomes. Raises NextbestError."""
        return await self._batch("/v1/events/batch", items)

    async def _batch(self, path: str, items: list[Json]) -> list[str]:
        statuses: list[str] = []
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                await asyncio.sleep(0.1 * 2**attempt)
            answers = _object(await self._patient.request("POST", path, {"items": items}))["items"]
            later = [answer["code"] == httpx.codes.SERVICE_UNAVAILABLE for answer in answers]
            statuses += [answer["status"] for answer, wait in zip(answers, later, strict=True) if not wait]
            items = [item for item, wait in zip(items, later, strict=True) if wait]
            if not items:
                return statuses
        return statuses + ["refused"] * len(items)

    async def firings(self) -> dict[str, int]:
        """Count by status what triggers fired in the last day. Raises NextbestError."""
        triggers = (await self._get("/v1/firings/counts", days="1"))["triggers"]
        return dict(sum((Counter(one["counts"]) for one in triggers), Counter[str]()))

    async def interests(self) -> Json:
        """Read the report on what a sample of the households is interested in. Raises NextbestError."""
        return _object(await self._patient.request("GET", "/v1/reports/interests"))

    async def acceptance(self, by: str = "policy") -> list[Json]:
        """Read the rows of the acceptance report. Raises NextbestError."""
        rows: list[Json] = (await self._get("/v1/reports/acceptance", by=by))["rows"]
        return rows

    async def policy_state(self, name: str) -> str:
        """Read how far the first version of a policy is: `live` if it may decide. Raises NextbestError."""
        return str((await self._get(f"/v1/policies/{name}/1"))["state"])

    async def beside(self) -> Json:
        """Read what has come of all that stands beside the champion of the web. Raises NextbestError.

        `holdout` counts customers by side, `shadow` and `canary` have decisions and figures of a policy, `alerts` are
        those that fire, and `reasons` counts what was said with a no.
        """
        holdout, compared, canaries, alerts, told = await asyncio.gather(
            self._get(f"/v1/reports/holdout/{HOLDOUT}"),
            self._get(f"/v1/placements/{WEB}/policies/comparison"),
            self._get("/v1/reports/canaries", placement=WEB),
            self._get("/v1/alerts", state="firing"),
            self._get("/v1/reports/outcomes"),
        )
        reasons = Counter[str]()
        for row in told["outcomes"]:
            if row["reason"] is not None:
                reasons[row["reason"]] += row["told"] + row["late"]
        return {
            "holdout": {name: holdout[name] for name in ("treated", "held_out", "measures")},
            "shadow": next((one for one in compared["shadows"] if one["role"] == "shadow"), None),
            "canary": next((stage["canary"] for stage in canaries["stages"]), None),
            "alerts": [{name: one[name] for name in ("alert_id", "message")} for one in alerts["alerts"]],
            "reasons": dict(reasons),
        }

    async def arms(self, policy: str) -> list[Json]:
        """Read the arms of a policy, as they are now. Raises NextbestError."""
        arms: list[Json] = (await self._get(f"/v1/policies/{policy}/arms"))["arms"]
        return arms

    async def upload(self, kind: str, path: Path) -> Json:
        """Import a file of one kind. Returns {"loaded", "refused", "refusals"}. Raises DemoError when it is refused."""
        headers = {"Content-Type": _CONTENT_TYPES[path.suffix]}
        content = await asyncio.to_thread(path.read_bytes)
        response = await self.http.post(f"/v1/imports/{kind}", content=content, headers=headers, timeout=120)
        return _object(self._check(response).json())

    async def ready(self) -> bool:
        """Return whether the service says that it can work."""
        try:
            return (await self.http.get("/readyz")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    async def _get(self, path: str, **parameters: str) -> Json:
        return _object(await self._once.request("GET", path, params=parameters))

    def _check(self, response: httpx.Response) -> httpx.Response:
        if response.is_error:
            request = response.request
            raise DemoError(f"{request.method} {request.url.path}: {response.status_code} {response.text}")
        return response


def _object(body: Any) -> Json:
    if not isinstance(body, dict):
        raise DemoError("the service answered with something else than an object")
    return body

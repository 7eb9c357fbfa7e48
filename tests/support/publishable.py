"""Publishable keys of tests: made with chosen settings, used as a browser uses them."""

import time
from dataclasses import dataclass
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import OctKey

from app.publishable.settings import PublishableSettings
from app.publishable.store import PublishableStore
from tests.support.api import Instance

SHOP = "https://shop.example"
SECRET = "a secret that only the back end of the shop knows"
VISITOR = "visitor-0123456789"


async def publish(api: Instance, **settings: Any) -> str:
    """Make a publishable key and let ``api`` know it at once; it takes tokens signed with ``SECRET``."""
    usual: dict[str, Any] = {
        "placements": ["home"],
        "origins": [SHOP],
        "tokens": {"algorithm": "HS256", "key": SECRET},
        "visitor_per_minute": 100_000,
    }
    key = await PublishableStore(api.state.engine).create(
        "tests", PublishableSettings.model_validate(usual | settings)
    )
    await api.state.refresh()
    return key


def sign(customer_id: object = "ann", secret: str = SECRET, **claims: Any) -> str:
    """Make a token as the back end of a shop does; claims that are ``None`` are left out."""
    now = int(time.time())
    usual = {"sub": customer_id, "aud": "nextbest", "iat": now, "exp": now + 300} | claims
    kept = {name: value for name, value in usual.items() if value is not None}
    return jwt.encode({"alg": "HS256"}, kept, OctKey.import_key(secret))


@dataclass(frozen=True, slots=True)
class Page:
    """A page of an origin with a key. ``origin`` is ``None`` for an app."""

    api: Instance
    key: str
    origin: str | None = SHOP

    async def post(self, what: str, body: Any, **headers: str) -> httpx.Response:
        """Send a body as a page does that wants no preflight: as text, with the key in the address."""
        sent = {"Content-Type": "text/plain;charset=UTF-8"} | headers
        if self.origin is not None:
            sent["Origin"] = self.origin
        return await self.api.http.post(
            f"/public/v1/{what}", params={"key": self.key}, json=body, headers=sent
        )

    async def decide(self, **fields: Any) -> Any:
        """Ask for a decision, which must succeed."""
        body = {"placement": "home"} | fields
        if "customer_token" not in body:
            body.setdefault("visitor_id", VISITOR)
        answer = await self.post("decisions", body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def tell(self, decision: Any, outcome: str = "presented", **who: str) -> Any:
        """Tell an outcome of the first offer of a decision; returns the answer to it."""
        item = {
            "decision_id": decision["decision_id"],
            "offer_id": decision["offers"][0]["offer_id"],
            "outcome": outcome,
        }
        answer = await self.post("feedback", (who or {"visitor_id": VISITOR}) | {"items": [item]})
        assert answer.status_code == 200, answer.text
        (found,) = answer.json()["items"]
        return found

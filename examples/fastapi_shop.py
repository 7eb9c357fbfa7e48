"""A shop's server with FastAPI: one client for the whole program, opened and closed with it.

Start it with ``uvicorn examples.fastapi_shop:app``; SHOP_NEXTBEST_URL and SHOP_NEXTBEST_KEY say which service it asks.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from pydantic import BaseModel

from nextbest_client import AsyncClient, BuiltInOutcome

DEFAULTS = {"home": [{"offer_id": "silver", "treatment": {"title": "Our cards", "link": "/cards"}}]}

TIMEOUT_S = 0.5


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, AsyncClient]]:
    """Open the client; when the server stops, what was told is sent before it ends."""
    url, key = os.environ["SHOP_NEXTBEST_URL"], os.environ["SHOP_NEXTBEST_KEY"]
    async with AsyncClient(url, key, defaults=DEFAULTS, timeout_s=TIMEOUT_S) as nextbest:
        yield {"nextbest": nextbest}


app = FastAPI(lifespan=lifespan)


class Banner(BaseModel):
    """The banner that the page shows, and what it sends back when something happens to it."""

    decision_id: str
    offer_id: str
    title: str
    link: str | None


class Seen(BaseModel):
    """Something that happened to a banner."""

    decision_id: str
    offer_id: str
    outcome: BuiltInOutcome


@app.get("/banners/{customer_id}")
async def banners(customer_id: str, request: Request) -> list[Banner]:
    """Ask for the best offers for a customer; with the service away, the shop's own."""
    nextbest: AsyncClient = request.state.nextbest
    decision = await nextbest.decide(customer_id, "home", {"page": "home"}, fields=["treatment"])
    shown = [(offer.offer_id, offer.treatment) for offer in decision.offers]
    return [
        Banner(decision_id=decision.decision_id, offer_id=offer_id, title=t.title, link=t.link)
        for offer_id, t in shown
        if t is not None
    ]


@app.post("/seen", status_code=202)
async def seen(body: Seen, request: Request) -> None:
    """Pass an outcome on, in the background: the customer waits for nothing."""
    nextbest: AsyncClient = request.state.nextbest
    nextbest.tell(body.decision_id, body.offer_id, body.outcome)

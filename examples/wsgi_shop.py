"""A shop's server without an event loop: plain WSGI here; a view of Flask does the same with its request.

The thread that sends outcomes starts when the first one is told, so a server may fork its workers before or after.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from nextbest_client import Client, NextbestError

Start = Callable[[str, list[tuple[str, str]]], Any]


def banners(nextbest: Client, customer_id: str) -> list[dict[str, Any]]:
    """Ask for the best offers for a customer. No error: a page without offers is still a page."""
    try:
        decision = nextbest.decide(customer_id, "home", {"page": "home"}, fields=["treatment"])
    except NextbestError:
        return []
    for offer in decision.offers:
        nextbest.tell(decision, offer, "presented")
    return [
        {
            "decision_id": decision.decision_id,
            "offer_id": offer.offer_id,
            "title": offer.treatment and offer.treatment.title,
        }
        for offer in decision.offers
    ]


def application(nextbest: Client) -> Callable[[dict[str, Any], Start], Iterable[bytes]]:
    """Make the WSGI application: ``/?customer=1025``."""

    def serve(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        customer_id = parse_qs(environ.get("QUERY_STRING", "")).get("customer", ["nobody"])[0]
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(banners(nextbest, customer_id)).encode()]

    return serve

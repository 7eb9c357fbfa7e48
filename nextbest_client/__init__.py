"""The client of nextbest for Python: ask for decisions, tell what came of them, and go on when the service is away."""

from nextbest_client.answers import Decision, Offer, Treatment
from nextbest_client.asking import BuiltInOutcome, Outcome
from nextbest_client.asynchronous import AsyncClient
from nextbest_client.errors import NextbestError, Refused, Unavailable
from nextbest_client.outbox import Dropped
from nextbest_client.retries import Retries
from nextbest_client.synchronous import Client

__all__ = [
    "AsyncClient",
    "BuiltInOutcome",
    "Client",
    "Decision",
    "Dropped",
    "NextbestError",
    "Offer",
    "Outcome",
    "Refused",
    "Retries",
    "Treatment",
    "Unavailable",
]

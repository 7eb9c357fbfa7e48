"""A small catalogue with every kind of contact rule, and decisions made by hand on the real Redis functions."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.log.ports import DecideReply, TellOutcome
from decisioning.log.store_redis import RedisLog
from decisioning.model.decision import DecidedOffer, Decision, LoggedFactors
from decisioning.model.entities import (
    AfterRejection,
    ContactLimit,
    ContactPolicy,
    Group,
    NotAfter,
    Offer,
    Placement,
    QuietHours,
    Treatment,
)
from decisioning.model.selection import Choice, Factors, Selection
from profiles.customer import Customer, Scalar, Suppression
from storage.errors import RedisUnavailable
from storage.functions import load_functions
from storage.keys import Keys
from storage.redis import make_redis
from storage.redis_pipe import Pipe
from tests.support.databases import mark_whole
from tests.support.decided import decision as made_by_hand

CHANNELS = ("web", "phone")
GROUPS = {
    "cards": Group("cards", "Cards", "grow"),
    "loans": Group("loans", "Loans", "acquire"),
    "service": Group("service", "Service", "serve"),
}
TREATMENTS = tuple(Treatment(channel, channel, "en", "T", "") for channel in CHANNELS)


def offer(number: int, offer_id: str, group: str, **fields: Any) -> Offer:
    """A live offer in both channels."""
    return Offer(offer_id, number, offer_id, group, 1.0, treatments=TREATMENTS, **fields)


OFFERS = {
    o.offer_id: o
    for o in (
        offer(
            1,
            "gold",
            "cards",
            contact_limits=(ContactLimit(2, 10),),
            after_rejection=(AfterRejection(30, "group"),),
        ),
        offer(2, "blue", "cards", not_after=(NotAfter(20, offer="home"),)),
        offer(
            3,
            "home",
            "loans",
            attributes={"brand": "x"},
            after_rejection=(AfterRejection(60, "attribute", "brand"),),
        ),
        offer(
            4,
            "car",
            "loans",
            attributes={"brand": "x"},
            not_after=(NotAfter(15, group="cards", outcomes=("decided", "clicked")),),
        ),
        offer(5, "bill", "service", transactional=True, after_rejection=(AfterRejection(20),)),
        offer(6, "news", "service", attributes={"brand": "x"}),
    )
}
POLICIES = {
    p.policy_id: p
    for p in (
        ContactPolicy("all", "three in half a minute", 3, 30, scope="all"),
        ContactPolicy("group", "two of a group", 2, 20, scope="group", suppress_s=25),
        ContactPolicy(
            "acquire",
            "one presented loan",
            1,
            40,
            ("presented", "accepted"),
            "goal",
            applies_to="acquire",
        ),
        ContactPolicy("phone", "one call about the same", 1, 12, scope="offer", channels=("phone",)),
    )
}
PLACEMENTS = {
    "web": Placement("web", "web", slots=3),
    "phone": Placement(
        "phone", "phone", slots=3, presentation="explicit", confirm_within_s=8, reward_window_s=100
    ),
}


def catalogue(
    offers: Mapping[str, Offer] = OFFERS,
    policies: Mapping[str, ContactPolicy] = POLICIES,
    quiet: Mapping[str, QuietHours] | None = None,
    placements: Mapping[str, Placement] = PLACEMENTS,
) -> Catalogue:
    """The catalogue, or one with other parts."""
    return Catalogue(
        1,
        groups=GROUPS,
        offers=offers,
        placements=placements,
        contact_policies=policies,
        quiet_hours=quiet or {},
    )


def customer(
    name: str = "ann",
    suppressions: Sequence[Suppression] | None = (),
    attributes: Mapping[str, Scalar] | None = None,
) -> Customer:
    """A customer with a record."""
    suppressed = None if suppressions is None else tuple(suppressions)
    return Customer(name, dict(attributes or {}), {}, (), {}, {}, True, suppressed)


def row_of(view: PlacementView, offer_id: str) -> int:
    """The row of an offer."""
    return [o.offer_id for o in view.offers].index(offer_id)


def selection_of(view: PlacementView, offer_ids: Iterable[str]) -> Selection:
    """A selection as the engine would have made it."""
    choices = tuple(
        Choice(view.offers[row], row, rank, Factors(0.5, 1.0, 1.0, 1.0), 0.5, 1.0, 0.5, 0.5)
        for rank, row in enumerate((row_of(view, o) for o in offer_ids), start=1)
    )
    numbers = np.array([c.offer.number for c in choices], np.uint32)
    return Selection(choices, numbers, np.full(len(choices), 0.5, np.float32))


def decision_of(
    view: PlacementView, chosen: Selection, customer_id: str, decision_id: str, now_ms: int, **fields: Any
) -> Decision:
    """A decision, as far as the log looks at it."""
    placement = view.placement
    until_ms = now_ms + placement.reward_window_s * 1000
    return made_by_hand(
        decision_id,
        customer_id=customer_id,
        placement=placement.placement_id,
        channel=placement.channel,
        presentation=placement.presentation,
        decided_at_ms=now_ms,
        until_ms=until_ms,
        offers=tuple(
            DecidedOffer(c.offer.offer_id, c.rank, factors=LoggedFactors(V=c.factors.V))
            for c in chosen.choices
        ),
        expected=tuple(c.expected for c in chosen.choices),
        numbers=tuple(c.offer.number for c in chosen.choices),
        contacts=view.contact.log_record([c.row for c in chosen.choices], now_ms, until_ms),
        **fields,
    )


async def decide(
    log: RedisLog,
    view: PlacementView,
    who: Customer,
    decision_id: str,
    offer_ids: Iterable[str],
    now_ms: int,
    **fields: Any,
) -> DecideReply:
    """Write a decision for these offers; ``fields`` are of its record."""
    chosen = selection_of(view, offer_ids)
    decision = decision_of(view, chosen, who.customer_id, decision_id, now_ms, **fields)
    return await log.decide(decision, chosen, view, who)


async def tell(log: RedisLog, *outcome: Any) -> tuple[str, str]:
    """Tell one outcome, the fields of ``TellOutcome``: its status and detail."""
    (reply,) = await log.feedback([TellOutcome(*outcome)])
    if isinstance(reply, RedisUnavailable):
        raise reply
    return reply


@asynccontextmanager
async def redis_log(url: str, buckets: int = 2) -> AsyncIterator[RedisLog]:
    """The log on a real server, with the functions loaded and every bucket marked as whole."""
    redis = make_redis(url)
    try:
        await load_functions(redis)
        await mark_whole(redis, Keys(buckets))
    finally:
        await redis.aclose()
    pipe = Pipe(url, stall_ms=5000)
    await pipe.start()
    try:
        yield RedisLog(pipe, Keys(buckets))
    finally:
        await pipe.stop()

"""Laws of the contact policy's arithmetic: in Python, in Lua, and of what an explanation says."""

import asyncio
import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decisioning.contact.history import KIND_LETTERS
from decisioning.contact.limits import blocked_until
from decisioning.contact.placement_limits import PlacementLimits
from decisioning.log.codec import history_member
from decisioning.log.store_redis import RedisLog
from decisioning.model.decision import Contact
from decisioning.model.entities import ContactKind, ContactPolicy, QuietHours
from profiles.customer import Suppression
from storage.functions import OURS
from storage.redis import make_redis
from tests.support import contact_world as world

START_MS = 1_800_000_000_000


times = st.lists(st.integers(0, 60), max_size=8)


limits = st.tuples(st.integers(0, 4), st.integers(1, 25), st.integers(0, 25))


_numbers = itertools.count()


@settings(max_examples=150)
@given(times, st.lists(limits, min_size=1, max_size=6), st.integers(40, 90))
def test_lua_decides_as_python_does(
    redis_url: str, at: list[int], checks: list[tuple[int, int, int]], now: int
) -> None:
    name = f"twin-{next(_numbers)}"
    texts = [f"o7|d|{most}|{window}|{suppress}|" for most, window, suppress in checks]

    async def run() -> list[bytes]:
        async with world.redis_log(redis_url) as log:
            return await _decided(log, name, at, texts, START_MS + now)

    reply = asyncio.run(run())
    blocked = [
        f"offer-{number}".encode()
        for number, check in enumerate(checks)
        if blocked_until([START_MS + t for t in at], *check, START_MS + now) is not None
    ]
    assert reply == ([b"limit", *blocked] if blocked else [b"ok", reply[1]])


async def _decided(log: RedisLog, name: str, at: list[int], texts: list[str], now_ms: int) -> list[bytes]:
    """Return the answer of ``nb_decide`` on offers that do not count, each with one check."""
    keys = (
        *(log.keys.decision(0, name), log.keys.log(0), log.keys.pending(0)),
        *(log.keys.contacts(0) + name, log.keys.unconfirmed(0), log.keys.whole(0)),
    )
    for number, t in enumerate(at):
        contact = history_member(Contact(7, START_MS + t, "g", "grow", "d", "web"), f"d{number}")
        await log.pipe.call("ZADD", keys[3], START_MS + t, contact)
    offers = [
        part
        for number, text in enumerate(texts)
        for part in (f"offer-{number}", 100 + number, "0.5", "t g:grow web", text, "")
    ]
    arguments = (name, now_ms, now_ms + 1000, 60_000, 0, "{}", "", "", "", name, "p@1", "web", "implicit", "")
    reply: list[bytes] = await log.pipe.function("nb_decide", keys, *arguments, "", "", len(texts), *offers)
    return reply


policies = st.builds(
    ContactPolicy,
    st.just("p"),
    st.just("a policy"),
    st.integers(1, 4),
    st.integers(1, 60),
    st.lists(st.sampled_from(sorted(KIND_LETTERS)), min_size=1, max_size=3).map(tuple),
    st.sampled_from(("offer", "group", "goal", "all")),
    st.sampled_from(((), ("web",), ("phone", "web"))),
    st.integers(0, 60),
    per=st.sampled_from(("customer", "household")),
).map(lambda one: one if one.per == "customer" else replace(one, outcomes=("decided",)))


contacts = st.lists(
    st.builds(
        Contact,
        st.integers(1, 8),
        st.integers(START_MS - 90_000, START_MS),
        st.sampled_from(("cards", "loans", "service", "gone")),
        st.sampled_from(("grow", "acquire", "serve")),
        st.sampled_from("dpcarDPCAR"),
        st.sampled_from(("web", "phone")),
    ),
    max_size=30,
).map(lambda found: sorted(found, key=lambda c: c.at_ms))


wishes = st.dictionaries(
    st.sampled_from(("max_contacts_per_day", "max_contacts_per_week", "min_gap_s", "time_zone")),
    st.one_of(
        st.floats(-1, 90), st.integers(0, 4), st.booleans(), st.sampled_from(("Asia/Tokyo", "nowhere", ""))
    ),
)


suppressions = st.one_of(
    st.none(),
    st.lists(
        st.builds(
            Suppression,
            st.sampled_from(("register", "complaints")),
            st.just("asked for it"),
            st.one_of(st.none(), st.integers(START_MS - 2, START_MS + 2)),
            st.just(0),
        ),
        max_size=2,
    ),
)


quiet = st.lists(
    st.builds(
        QuietHours,
        st.just("night"),
        st.sampled_from(("00:00", "07:59", "08:00", "17:00")),
        st.sampled_from(("08:00", "08:01", "17:00", "24:00")),
        st.sampled_from(((), ("web",), ("phone",))),
        st.sampled_from(("UTC", "Europe/Madrid")),
    ),
    max_size=2,
)


@settings(max_examples=300)
@given(
    st.lists(policies, max_size=5),
    st.one_of(st.none(), contacts),
    st.one_of(st.none(), contacts),
    wishes,
    suppressions,
    quiet,
    st.sampled_from(("web", "phone")),
)
def test_an_offer_is_stopped_exactly_if_there_is_a_reason(
    found: list[ContactPolicy],
    history: list[Contact] | None,
    household: list[Contact] | None,
    attributes: dict[str, float | bool | str],
    suppressed: list[Suppression] | None,
    hours: list[QuietHours],
    channel: str,
) -> None:
    book = book_of(found, hours, channel)
    who = world.customer("ann", suppressed, attributes)
    allowed = book.allowed(who, history, START_MS, household)
    for row in range(len(allowed)):
        stops = book.stops(row, who, history, START_MS, household)
        assert allowed[row] == (not stops)
        assert all(s.allowed_again_ms is None or s.allowed_again_ms > START_MS for s in stops)
    if history is not None:
        relevant = book.relevant(who, history)
        assert (book.allowed(who, relevant, START_MS, household) == allowed).all()
    if household is not None:
        together = book.relevant_together(household)
        assert (book.allowed(who, history, START_MS, together) == allowed).all()


@given(st.lists(policies, max_size=3), contacts, wishes)
def test_what_does_not_count_does_not_matter(
    found: list[ContactPolicy], history: list[Contact], attributes: dict[str, float | bool | str]
) -> None:
    """Contacts with transactional offers use up no limit: without exclusions they change nothing."""
    offers = {name: world.offer(o.number, name, o.group) for name, o in world.OFFERS.items()}
    view = world.catalogue(offers, dict(enumerate_policies(found))).view("web")
    who = world.customer("ann", attributes=attributes)
    ordinary = [c for c in history if c.kind.islower()]
    assert (
        view.contact.allowed(who, history, START_MS) == view.contact.allowed(who, ordinary, START_MS)
    ).all()


def book_of(found: list[ContactPolicy], hours: list[QuietHours], channel: str) -> PlacementLimits:
    """The contact book of the small catalogue with these policies and quiet hours."""
    built = world.catalogue(
        policies=dict(enumerate_policies(found)), quiet={str(n): hours for n, hours in enumerate(hours)}
    )
    return built.view(channel).contact


def enumerate_policies(found: list[ContactPolicy]) -> list[tuple[str, ContactPolicy]]:
    """Policies by an id of their own."""
    return [(str(number), policy) for number, policy in enumerate(found)]


@pytest.mark.parametrize("kind", ["decided", "presented", "clicked", "accepted", "rejected"])
def test_each_kind_has_a_letter_of_its_own(kind: ContactKind) -> None:
    assert KIND_LETTERS[kind] == kind[0]


async def test_the_functions_are_there(redis_url: str) -> None:
    async with world.redis_log(redis_url):
        redis = make_redis(redis_url)
        found = await redis.function_list(library=OURS.name)
        await redis.aclose()
    assert b"nb_release" in str(found).encode()

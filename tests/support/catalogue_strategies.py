"""Generated catalogues, of all kinds of entries."""

from typing import Any, get_args

from hypothesis import strategies as st

from decisioning.catalog.alert import WATCHES
from decisioning.catalog.kind import Entry
from decisioning.model.entities import FOREVER_MS, GOALS, TIERS
from decisioning.model.trigger import LeapDay, TriggerStatus
from profiles.events.declared import Function, Measure, Unit

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53).map(float)
COUNTS = st.integers(1, 10**6)
SECONDS = st.integers(1, 366 * 86_400)
SHARES = st.floats(0, 1)
TIMES = st.integers(0, 253_402_300_799_999)
ENDS = TIMES | st.just(FOREVER_MS)
SCALARS = st.booleans() | st.integers(-(2**53), 2**53) | NUMBERS | TEXTS
KINDS_OF_CONTACT = st.lists(
    st.sampled_from(("decided", "presented", "clicked", "accepted", "rejected")), min_size=1, max_size=3
)
DURATIONS = st.sampled_from(("1s", "30m", "24h", "7d"))
CHANNELS = st.lists(IDS, max_size=2)


def made(needed: dict[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]) -> Any:
    """Bodies with what is needed and some of what is optional."""
    return st.fixed_dictionaries(needed, optional=optional)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values, or null."""
    return st.none() | values


RULES = st.fixed_dictionaries({"name": TEXTS, "tier": st.sampled_from(TIERS), "when": TEXTS})
STEPS = made({"step_id": IDS, "text": TEXTS}, when=maybe(TEXTS))
SCRIPTS = made(
    {},
    steps=st.lists(STEPS, max_size=2),
    objections=st.lists(st.fixed_dictionaries({"objection": TEXTS, "answer": TEXTS}), max_size=2),
)
DEMANDS: dict[str, Any] = {
    "requires_consent": maybe(IDS),
    "legal_basis": st.sampled_from(("consent", "contract", "legitimate_interest", "legal_obligation")),
    "contact_limits": st.lists(st.fixed_dictionaries({"max": COUNTS, "window_s": SECONDS}), max_size=2),
    "rules": st.lists(RULES, max_size=2),
}
OFFERS = made(
    {"name": TEXTS, "group": IDS, "value": NUMBERS},
    status=st.sampled_from(("draft", "scheduled", "live", "paused", "ended")),
    starts_ms=TIMES,
    ends_ms=ENDS,
    value_expression=maybe(TEXTS),
    lever=NUMBERS,
    mandatory=st.booleans(),
    transactional=st.booleans(),
    team=maybe(IDS),
    attributes=st.dictionaries(NAMES, SCALARS, max_size=3),
    **DEMANDS,
    min_propensity=SHARES,
    not_with=st.lists(IDS, max_size=2),
    not_after=st.lists(
        made({"within_s": SECONDS}, offer=maybe(IDS), group=maybe(IDS), outcomes=KINDS_OF_CONTACT), max_size=2
    ),
    after_rejection=st.lists(
        made(
            {"for_s": SECONDS},
            scope=st.sampled_from(("offer", "group", "attribute")),
            attribute=maybe(NAMES),
        ),
        max_size=2,
    ),
)
TREATMENTS = made(
    {
        "channel": IDS,
        "language": st.sampled_from(("en", "es", "pt-BR", "no")),
        "title": TEXTS,
        "message": TEXTS,
    },
    image=maybe(TEXTS),
    link=maybe(TEXTS),
    button=maybe(TEXTS),
    legal=maybe(TEXTS),
    attributes=st.dictionaries(NAMES, TEXTS | st.integers(-5, 5) | st.booleans(), max_size=2),
    fallbacks=st.dictionaries(NAMES, TEXTS, max_size=2),
    script=maybe(SCRIPTS),
)
PLACEMENTS = made(
    {"channel": IDS},
    slots=COUNTS,
    default_offers=st.lists(IDS, max_size=2),
    deadline_ms=COUNTS,
    presentation=st.sampled_from(("implicit", "explicit")),
    reward_window_s=SECONDS,
    policy=st.sampled_from(("thompson", "random")),
    control_share=SHARES,
    experiment_salt=TEXTS,
    without_history=st.sampled_from(("withhold", "allow")),
    confirm_within_s=SECONDS,
    off=st.lists(st.sampled_from("PCVL"), unique=True),
    when=maybe(TEXTS),
    min_propensity=SHARES,
    max_per_group=maybe(COUNTS),
    fill_with_defaults=st.booleans(),
    log_facts=st.lists(st.sampled_from(("customer.holdings", "customer.interests")), unique=True),
    tie_break=st.sampled_from(("oldest", "newest", "value")),
)
SCOPED = {"group": maybe(IDS), "offer": maybe(IDS)}
SUPPRESS = st.lists(
    made({"for_s": SECONDS}, scope=st.sampled_from(("offer", "group", "goal", "channel", "all"))), max_size=2
)
SIMPLE: dict[str, tuple[st.SearchStrategy[str], st.SearchStrategy[dict[str, Any]]]] = {
    "attribute": (
        NAMES.map("customer.{}".format),
        made(
            {"type": st.sampled_from(("string", "number", "int", "bool", "list", "timestamp"))},
            description=TEXTS,
            unit=maybe(TEXTS),
            values=st.lists(SCALARS, max_size=3),
        ),
    ),
    "segment": (NAMES, made({"when": TEXTS}, description=TEXTS)),
    "group": (IDS, made({"name": TEXTS, "goal": st.sampled_from(GOALS)}, lever=NUMBERS, **DEMANDS)),
    "placement": (IDS, PLACEMENTS),
    "contact_policy": (
        IDS,
        made(
            {"name": TEXTS, "max": COUNTS, "window_s": SECONDS},
            outcomes=KINDS_OF_CONTACT,
            scope=st.sampled_from(("offer", "group", "goal", "all")),
            channels=CHANNELS,
            suppress_s=SECONDS,
            applies_to=maybe(IDS),
            per=st.sampled_from(("customer", "household")),
        ),
    ),
    "quiet_hours": (
        IDS,
        made({"start": st.just("21:00"), "end": st.just("08:00")}, channels=CHANNELS, time_zone=TEXTS),
    ),
    "capacity": (
        IDS,
        made(
            {"name": TEXTS, "max": st.integers(0, 10**9)},
            per=st.sampled_from(("hour", "day", "total")),
            time_zone=TEXTS,
            channel=maybe(IDS),
            team=maybe(IDS),
            counts=maybe(st.sampled_from(("decided", "presented", "accepted"))),
            hold_s=SECONDS,
            overbook=maybe(st.integers(0, 10**9)),
            once_per_customer=st.booleans(),
            keep_for_value=st.booleans(),
            **SCOPED,
        ),
    ),
    "override": (IDS, made({"reason": TEXTS}, starts_ms=TIMES, ends_ms=ENDS, **SCOPED)),
    "context_weight": (
        IDS,
        made({"when": TEXTS, "percent": NUMBERS}, goal=maybe(st.sampled_from(GOALS)), **SCOPED),
    ),
    "goal": (st.sampled_from(GOALS), made({"lever": NUMBERS}, **DEMANDS)),
    "outcome": (
        IDS,
        made(
            {},
            name=TEXTS,
            reward=NUMBERS,
            place=maybe(st.integers(1, 1000)),
            terminal=st.booleans(),
            suppress=SUPPRESS,
        ),
    ),
    "reason": (IDS, made({}, name=TEXTS, suppress=SUPPRESS)),
    "signal": (
        IDS,
        made(
            {"when": TEXTS, "reason": IDS},
            scope=made(
                {},
                goals=st.lists(st.sampled_from(GOALS), unique=True, max_size=2),
                offers=st.lists(IDS, max_size=2),
                channels=CHANNELS,
                except_groups=st.lists(IDS, max_size=2),
            ),
            lasts_s=maybe(SECONDS),
            unread=st.sampled_from(("withhold", "allow")),
            name=TEXTS,
        ),
    ),
    "alert": (
        IDS,
        made({"watches": st.sampled_from(sorted(WATCHES))}, threshold=maybe(NUMBERS), description=TEXTS),
    ),
    "event": (
        IDS,
        made(
            {"name": TEXTS},
            json_schema=st.just({"properties": {"a": {"enum": [1, None, "b"]}}}),
            contact=maybe(made({"channel": IDS}, group=maybe(IDS))),
            personal=st.lists(TEXTS, max_size=2),
            retention_days=maybe(COUNTS),
            description=TEXTS,
        ),
    ),
    "aggregate": (
        NAMES,
        made(
            {"event": IDS, "function": st.sampled_from(get_args(Function))},
            property=maybe(TEXTS),
            where=maybe(TEXTS),
            window=maybe(DURATIONS),
            tile=maybe(DURATIONS),
            of=st.sampled_from(get_args(Measure)),
            periods=st.integers(2, 12),
            unit=st.sampled_from(get_args(Unit)),
            name=TEXTS,
        ),
    ),
    "concept": (
        NAMES,
        made(
            {},
            signals=st.lists(
                made({"event": IDS}, weight=st.floats(0.001, 1000), where=maybe(TEXTS)), max_size=2
            ),
            half_life=DURATIONS,
            name=TEXTS,
        ),
    ),
    "trigger": (
        IDS,
        made(
            {
                "on": made(
                    {},
                    event=maybe(IDS),
                    idle=st.lists(IDS, max_size=2),
                    unless=st.lists(IDS, max_size=2),
                    after_s=maybe(SECONDS),
                    restart=st.booleans(),
                    days=st.integers(-3660, 3660),
                    leap_day=st.sampled_from(get_args(LeapDay)),
                ),
                "deliver": made({}, webhook=maybe(TEXTS), stream=maybe(TEXTS)),
            },
            placement=maybe(IDS),
            channels=st.lists(made({"placement": IDS}, cost=st.floats(0, 1000)), max_size=2),
            when=maybe(TEXTS),
            within_s=SECONDS,
            again_after_s=SECONDS,
            status=st.sampled_from(get_args(TriggerStatus)),
            name=TEXTS,
        ),
    ),
    "holdout": (
        IDS,
        made(
            {"share": NUMBERS},
            name=TEXTS,
            goal=maybe(st.sampled_from(GOALS)),
            exempt_goals=st.lists(st.sampled_from(GOALS), max_size=2),
            exempt_groups=st.lists(IDS, max_size=2),
            events=st.lists(made({"event": IDS}, property=maybe(TEXTS)), max_size=2),
            starts_ms=TIMES,
            ends_ms=ENDS,
        ),
    ),
    "article": (
        IDS,
        made(
            {"title": TEXTS, "body": TEXTS},
            language=st.sampled_from(("en", "es", "pt-BR", "no")),
            tags=st.lists(TEXTS, max_size=2),
            reasons=st.lists(IDS, max_size=2),
            channels=CHANNELS,
            starts_ms=TIMES,
            ends_ms=ENDS,
        ),
    ),
}


@st.composite
def catalogues(draw: st.DrawFn) -> list[Entry]:
    """The entries of a catalogue; it need not make sense, only be well formed."""
    entries: list[Entry] = []
    for kind, (names, bodies) in SIMPLE.items():
        entries += [(kind, n, b) for n, b in draw(st.dictionaries(names, bodies, max_size=2)).items()]
    for offer_id, body in draw(st.dictionaries(IDS, OFFERS, max_size=3)).items():
        entries.append(("offer", offer_id, body))
        treatments = draw(st.dictionaries(IDS, TREATMENTS, max_size=2))
        entries += [("treatment", f"{offer_id}/{n}", b) for n, b in treatments.items()]
    return entries

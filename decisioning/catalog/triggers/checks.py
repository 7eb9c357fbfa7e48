"""Checks of triggers: what their occasion needs, what they refer to, and where their decisions go."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from decisioning.aggregates.vocabulary import property_attributes
from decisioning.catalog.alert import webhook_problem
from decisioning.catalog.kind import ExpressionUse, Sections
from decisioning.contact.quiet_hours import zone_of
from decisioning.errors import Invalid, MissingThing
from decisioning.model.outcome import BUILT_IN
from decisioning.model.trigger import Trigger, TriggerOn

_OCCASIONS = ("event", "outcome", "date", "idle")
_BELONGS: dict[str, tuple[str, ...]] = {
    "unless": ("event", "outcome"),
    "after_s": ("event", "outcome", "idle"),
    "restart": ("event",),
    "offer": ("outcome",),
    "group": ("outcome",),
    "days": ("date",),
    "yearly": ("date",),
    "key": ("event",),
    "leap_day": ("date",),
    "at": ("date",),
    "time_zone": ("date",),
}
"""The occasions to which a field means something."""
_NOTHING = TriggerOn()
_DATES = ("timestamp", "string")
OWN_STREAMS = "nb:triggered"
"""The beginning of the only streams below ``nb:`` that are not the service's own."""


def check_trigger(trigger: Trigger, things: Sections) -> Iterator[Invalid]:
    """Yield what is not right about a trigger. ``things``: the sections of the catalogue."""
    yield from _check_on(trigger.on, things)
    yield from _check_placements(trigger, things)
    yield from _check_delivery(trigger)


def trigger_expressions(trigger: Trigger) -> Iterator[ExpressionUse]:
    """Yield the condition of a trigger, which is asked when there is neither an offer nor a request."""
    if trigger.when is not None:
        yield ExpressionUse(
            "when", trigger.when, may_use_offer=False, may_use_context=False, event=trigger.on.event
        )


def _check_on(on: TriggerOn, things: Sections) -> Iterator[Invalid]:
    given = [name for name in _OCCASIONS if getattr(on, name)]
    if given == ["event", "date"]:
        yield from _check_event_date(on, things)
        return
    if len(given) != 1:
        found = "there is none" if not given else f"there are {' and '.join(given)}"
        yield Invalid("on", f"needs one of event, outcome, date and idle: {found}")
        return
    if on.key is not None:
        yield Invalid("on.key", "means something to a date of an event alone: leave it out")
    (occasion,) = given
    for name, occasions in _BELONGS.items():
        if occasion not in occasions and getattr(on, name) != getattr(_NOTHING, name):
            yield Invalid(f"on.{name}", f"means nothing to {occasion}: leave it out")
    if occasion == "date":
        yield from _check_date(on, things)
    elif occasion == "idle":
        yield from _check_events("on.idle", on.idle, things)
        if on.after_s is None:
            yield Invalid("on.after_s", "is missing: for how many seconds none of these events came")
    else:
        yield from _check_wait(on, things)


def _check_event_date(on: TriggerOn, things: Sections) -> Iterator[Invalid]:
    """Yield what is wrong with a date that events of a type hold, and with what it is a date of."""
    for name in ("unless", "after_s", "restart", "yearly", "leap_day", "offer", "group"):
        if getattr(on, name) != getattr(_NOTHING, name):
            yield Invalid(f"on.{name}", "means nothing to a date of an event: leave it out")
    if zone_of(on.time_zone) is None:
        yield Invalid("on.time_zone", f"there is no time zone {on.time_zone!r}")
    yield from _check_events("on.event", (on.event or "",), things)
    event_type = things["event_types"].get(on.event or "")
    path = on.date or ""
    if not path.startswith("event."):
        yield Invalid(
            "on.date", f"is a property of the event, such as event.due_date; for {path!r} leave out on.event"
        )
    elif event_type is not None:
        known = property_attributes(event_type)
        wanted = [("on.date", path.removeprefix("event."), _DATES)]
        wanted += [] if on.key is None else [("on.key", on.key, ("string", "int"))]
        for field, name, types in wanted:
            if name not in known:
                yield Invalid(
                    field, f"events of type {on.event!r} have no property {name!r}: declare it, with its type"
                )
            elif known[name].type not in types:
                yield Invalid(field, f"{name!r} is a {known[name].type}, and must be a {' or '.join(types)}")
            elif name in event_type.personal:
                yield Invalid(field, f"{name!r} is personal, and is not kept with what is waited for")


def _check_wait(on: TriggerOn, things: Sections) -> Iterator[Invalid]:
    """Yield what is wrong with what a trigger waits for, and with what must not come meanwhile."""
    if on.unless and on.after_s is None:
        yield Invalid("on.after_s", "is missing: for how many seconds it is waited for what is in unless")
    if on.event is not None:
        yield from _check_events("on.event", (on.event,), things)
        yield from _check_events("on.unless", on.unless, things)
        return
    known = {*BUILT_IN, *things["outcomes"]}
    for field, names in (("on.outcome", (on.outcome or "",)), ("on.unless", on.unless)):
        for name in names:
            if name not in known:
                yield _missing(field, "outcome", name, known, f"declare it with PUT /v1/outcomes/{name}")
    for field, section, named in (("offer", "offers", on.offer), ("group", "groups", on.group)):
        if named is not None and named not in things[section]:
            yield _missing(f"on.{field}", field, named, things[section])
    if on.offer is not None and on.group is not None:
        yield Invalid("on.group", "leave it out: the offer has one")


def _check_events(field: str, names: Iterable[str], things: Sections) -> Iterator[Invalid]:
    for name in names:
        if name not in things["event_types"]:
            way_out = f"create it with PUT /v1/event-types/{name}, or in the file"
            yield _missing(field, "event", name, things["event_types"], way_out)


def _missing(field: str, kind: str, name: str, known: Iterable[str], way_out: str = "") -> MissingThing:
    near = get_close_matches(name, list(known), n=1, cutoff=0.75)
    return MissingThing(field, kind, name, f"did you mean {near[0]!r}?" if near else way_out)


def _check_date(on: TriggerOn, things: Sections) -> Iterator[Invalid]:
    path = on.date or ""
    if not path.startswith("customer.") or path.count(".") != 1:
        yield Invalid("on.date", "must be an attribute of customers, such as customer.birth_date")
    elif path not in things["attributes"]:
        yield _missing(
            "on.date", "attribute", path, things["attributes"], f"declare it with PUT /v1/attributes/{path}"
        )
    elif things["attributes"][path].type not in _DATES:
        yield Invalid(
            "on.date", f"{path} is a {things['attributes'][path].type}, not a timestamp or a string"
        )
    if on.leap_day != _NOTHING.leap_day and not on.yearly:
        yield Invalid("on.leap_day", "means something to dates that come yearly alone: leave it out")
    if zone_of(on.time_zone) is None:
        yield Invalid("on.time_zone", f"there is no time zone {on.time_zone!r}")


def _check_placements(trigger: Trigger, things: Sections) -> Iterator[Invalid]:
    if (trigger.placement is None) == (not trigger.channels):
        yield Invalid("placement", "needs a placement, or channels: one of the two, not both")
    named = [("placement", trigger.placement)] if trigger.placement is not None else []
    named += [(f"channels.{place}.placement", one.placement) for place, one in enumerate(trigger.channels)]
    seen: set[str] = set()
    for field, name in named:
        if name not in things["placements"]:
            yield _missing(field, "placement", name, things["placements"])
        if name in seen:
            yield Invalid(field, f"{name!r} is named twice")
        seen.add(name)


def _check_delivery(trigger: Trigger) -> Iterator[Invalid]:
    to = trigger.deliver
    if (to.webhook is None) == (to.stream is None):
        yield Invalid("deliver", "needs a webhook, or a stream: one of the two, not both")
    if to.stream is not None and to.stream.startswith("nb:") and not to.stream.startswith(OWN_STREAMS):
        yield Invalid(
            "deliver.stream", f"keys below nb: are the service's own: take another name, or {OWN_STREAMS}"
        )
    if to.secret is not None and to.secret.startswith("whsec_"):
        yield Invalid(
            "deliver.secret",
            "is a secret itself: put it into a file of NEXTBEST_WEBHOOK_SECRETS, and name that",
        )
    if to.webhook is None:
        if to.secret is not None:
            yield Invalid("deliver.secret", "means nothing without a webhook: leave it out")
        return
    problem = webhook_problem(to.webhook)
    if problem:
        yield Invalid("deliver.webhook", problem)
    if to.secret is None:
        yield Invalid(
            "deliver.secret",
            "is missing: name the file of NEXTBEST_WEBHOOK_SECRETS that requests are signed with",
        )

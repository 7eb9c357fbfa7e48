"""What is allowed and was probably not meant is said, with the way out; what is usual is not."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

import pytest

from decisioning.catalog.catalogue import Catalogue, build_catalogue
from decisioning.catalog.checking.warnings import about, catalogue_warnings, warnings_of_change
from decisioning.catalog.kind import Entry
from decisioning.catalog.kinds import KINDS
from tests.support.shop import NOW_MS

TREATMENT = {"channel": "web", "language": "en", "title": "T", "message": ""}
OFFER: dict[str, Any] = {"name": "Gold", "group": "cards", "value": 3.0, "team": "callback"}
SHOP: list[Entry] = [
    ("group", "cards", {"name": "Cards", "goal": "grow"}),
    ("group", "empty", {"name": "Empty", "goal": "retain"}),
    ("offer", "gold", OFFER),
    ("treatment", "gold/web", TREATMENT),
    ("placement", "home", {"channel": "web", "default_offers": ["gold"]}),
    ("offer", "old", OFFER | {"status": "ended"}),
    ("treatment", "old/fax", TREATMENT | {"channel": "fax"}),
    ("event", "call", {"name": "Call"}),
    ("reason", "leave", {}),
]


def built(*entries: Entry) -> Catalogue:
    """The shop with these entries in the place of those of the same names, or added."""
    replaced = {(kind, name): body for kind, name, body in [*SHOP, *entries]}
    numbers = {name: number for number, (kind, name) in enumerate(replaced, 1) if kind == "offer"}
    return build_catalogue(1, [(kind, name, body) for (kind, name), body in replaced.items()], numbers)


def test_a_usual_catalogue_gets_no_warnings() -> None:
    usual: list[Entry] = [
        ("goal", "grow", {"lever": 25.0}),
        ("contact_policy", "weekly", {"name": "w", "max": 3, "window_s": 604_800, "scope": "all"}),
        ("quiet_hours", "night", {"start": "21:00", "end": "08:00", "channels": ["web"]}),
        ("capacity", "calls", {"name": "Calls", "max": 300, "team": "callback"}),
        ("context_weight", "leaving", {"when": "context.channel == 'web'", "percent": 100.0, "goal": "grow"}),
        ("override", "may", {"reason": "may", "offer": "gold"}),
        ("signal", "anything", SIGNAL),
        (
            "signal",
            "leaving",
            SIGNAL | {"scope": {"goals": ["grow"], "channels": ["web"]}, "lasts_s": 86_400},
        ),
        ("reason", "why", {"suppress": [{"for_s": 604_800}]}),
        ("trigger", "call", TRIGGER | {"on": {"event": "call", "after_s": 60}, "again_after_s": 0}),
        ("alert", "degraded", {"watches": "degraded_share", "window_s": 300}),
        ("alert", "drop", {"watches": "acceptance_drop"}),
        ("holdout", "nobody", {"share": 0.1, "goal": "grow"}),
        ("offer", "gold", OFFER | {"lever": -10.0, "contact_limits": [{"max": 1, "window_s": 86_400}]}),
    ]
    assert catalogue_warnings(built(*usual), NOW_MS) == []


WEIGHT = {"when": "true", "percent": 100.0, "goal": "grow"}
POLICY = {"name": "p", "max": 1, "window_s": 604_800}
RULE = {"name": "r", "tier": "eligibility"}
LIMITS = [{"max": 1, "window_s": 7}]
SIGNAL = {"when": "true", "reason": "leave"}
TRIGGER = {"on": {"event": "call"}, "placement": "home", "deliver": {"stream": "s"}}
ODD: list[tuple[Entry, str, str, str]] = [
    # entry, field, message, way out
    (
        ("context_weight", "w", WEIGHT | {"percent": 1.5}),
        "context_weights.w.percent",
        "is 1.5 %",
        "150 % is 150",
    ),
    (("context_weight", "w", WEIGHT | {"percent": -100.0}), "context_weights.w.percent", "become 0", "pause"),
    (
        ("context_weight", "w", WEIGHT | {"goal": "serve"}),
        "context_weights.w.goal",
        "no offers",
        "another goal",
    ),
    (
        ("group", "cards", {"name": "C", "goal": "grow", "lever": 0.2}),
        "groups.cards.lever",
        "is 0.2 %",
        "20 % is 20",
    ),
    (("goal", "grow", {"lever": 1.1}), "goals.grow.lever", "is 1.1 %", "a factor of 1.1 is 10"),
    (
        ("group", "cards", {"name": "C", "goal": "grow", "contact_limits": [{"max": 1, "window_s": 7}]}),
        "groups.cards.contact_limits.0.window_s",
        "is 7 seconds",
        "604800",
    ),
    (
        ("goal", "grow", {"contact_limits": [{"max": 1, "window_s": 7}]}),
        "goals.grow.contact_limits.0.window_s",
        "is 7 seconds",
        "604800",
    ),
    (
        (
            "group",
            "cards",
            {"name": "C", "goal": "grow", "rules": [RULE | {"when": "context.channel == 'x'"}]},
        ),
        "groups.cards.rules.r",
        "context.channel is never 'x'",
        "web",
    ),
    (("goal", "serve", {"lever": 25.0}), "goals.serve", "has no offers", "delete it"),
    (("offer", "gold", OFFER | {"lever": -0.5}), "offers.gold.lever", "is -0.5 %", "-50 % is -50"),
    (("offer", "gold", OFFER | {"value": 0.0}), "offers.gold.value", "its score is 0", "worth"),
    (
        ("offer", "gold", OFFER | {"min_propensity": 2 / 3}),
        "offers.gold.min_propensity",
        "accept",
        "0.00666667",
    ),
    (("offer", "gold", OFFER | {"not_with": ["gold"]}), "offers.gold.not_with", "the offer itself", "other"),
    (("offer", "gold", OFFER | {"ends_ms": NOW_MS}), "offers.gold.ends_at", "in the past", "end the offer"),
    (
        ("offer", "gold", OFFER | {"contact_limits": [{"max": 1, "window_s": 7}]}),
        "offers.gold.contact_limits.0.window_s",
        "is 7 seconds",
        "7 days would be 604800",
    ),
    (
        ("offer", "gold", OFFER | {"not_after": [{"within_s": 30}]}),
        "offers.gold.not_after.0.within_s",
        "is 30 seconds",
        "2592000",
    ),
    (
        ("offer", "gold", OFFER | {"after_rejection": [{"for_s": 90}]}),
        "offers.gold.after_rejection.0.for_s",
        "is 90 seconds",
        "7776000",
    ),
    (
        (
            "offer",
            "gold",
            OFFER
            | {
                "attributes": {"line": "x"},
                "after_rejection": [{"for_s": 86_400, "scope": "attribute", "attribute": "lines"}],
            },
        ),
        "offers.gold.after_rejection.0.attribute",
        "no attribute 'lines'",
        "did you mean 'line'?",
    ),
    (
        ("treatment", "gold/web", TREATMENT | {"channel": "wep"}),
        "offers.gold.treatments",
        "nobody gets it",
        "for web",
    ),
    (
        ("treatment", "gold/sms", TREATMENT | {"channel": "sms"}),
        "offers.gold.treatments.sms.channel",
        "'sms'",
        "web",
    ),
    (("offer", "new", OFFER), "offers.new.treatments", "none at all", "add a treatment for web"),
    (("placement", "desk", {"channel": "agent"}), "placements.desk.channel", "nothing to offer", "web"),
    (
        ("placement", "home", {"channel": "web", "reward_window_s": 7}),
        "placements.home.reward_window_s",
        "is 7",
        "604800",
    ),
    (
        ("placement", "home", {"channel": "web", "presentation": "explicit", "confirm_within_s": 1}),
        "placements.home.confirm_within_s",
        "is 1 second,",
        "1 hour 3600",
    ),
    (
        ("offer", "gold", OFFER | {"status": "paused"}),
        "placements.home.default_offers.0",
        "is paused",
        "live",
    ),
    (
        ("contact_policy", "p", POLICY | {"window_s": 7}),
        "contact_policies.p.window_s",
        "is 7 seconds",
        "604800",
    ),
    (
        ("contact_policy", "p", POLICY | {"suppress_s": 30}),
        "contact_policies.p.suppress_s",
        "is 30",
        "2592000",
    ),
    (
        ("contact_policy", "p", POLICY | {"channels": ["wb"]}),
        "contact_policies.p.channels.0",
        "'wb'",
        "'web'",
    ),
    (
        ("contact_policy", "p", POLICY | {"scope": "group", "applies_to": "empty"}),
        "contact_policies.p.applies_to",
        "the group 'empty' has no offers",
        "another group",
    ),
    (
        ("contact_policy", "p", POLICY | {"scope": "goal", "applies_to": "serve"}),
        "contact_policies.p.applies_to",
        "the goal 'serve' has no offers",
        "another goal",
    ),
    (
        ("quiet_hours", "q", {"start": "08:00", "end": "08:00"}),
        "quiet_hours.q.end",
        "always quiet",
        "another end",
    ),
    (
        ("quiet_hours", "q", {"start": "08:00", "end": "09:00", "channels": ["x"]}),
        "quiet_hours.q.channels.0",
        "'x'",
        "web",
    ),
    (
        ("capacity", "c", {"name": "c", "max": 1, "team": "calback"}),
        "capacities.c.team",
        "no offer has the team 'calback'",
        "did you mean 'callback'?",
    ),
    (
        ("capacity", "c", {"name": "c", "max": 1, "group": "empty"}),
        "capacities.c.group",
        "counts against it",
        "offers have",
    ),
    (
        ("capacity", "c", {"name": "c", "max": 1, "channel": "web2"}),
        "capacities.c.channel",
        "'web2'",
        "'web'",
    ),
    (
        ("capacity", "c", {"name": "c", "max": 1, "overbook": 3}),
        "capacities.c.overbook",
        "where decisions are counted",
        "counts: accepted",
    ),
    (
        ("capacity", "c", {"name": "c", "max": 1, "counts": "decided", "hold_s": 60}),
        "capacities.c.hold_s",
        "does nothing",
        "leave it out",
    ),
    (
        ("capacity", "c", {"name": "c", "max": 1, "counts": "accepted", "hold_s": 7}),
        "capacities.c.hold_s",
        "is 7 seconds",
        "7 hours 25200",
    ),
    (
        ("override", "o", {"reason": "r", "ends_ms": NOW_MS}),
        "overrides.o.ends_at",
        "does nothing",
        "delete it",
    ),
    (
        ("override", "o", {"reason": "r", "group": "empty"}),
        "overrides.o.group",
        "has no offers",
        "another group",
    ),
    (
        ("article", "a", {"title": "t", "body": "b", "channels": ["wep"]}),
        "articles.a.channels.0",
        "no placement has the channel 'wep'",
        "there are web",
    ),
    (
        ("article", "a", {"title": "t", "body": "b", "ends_ms": NOW_MS}),
        "articles.a.ends_at",
        "nobody finds it any more",
        "delete it",
    ),
    (
        ("offer", "gold", OFFER | {"rules": [RULE | {"when": "context.placement == 'hom'"}]}),
        "offers.gold.rules.r",
        "context.placement is never 'hom'",
        "did you mean 'home'?",
    ),
    (
        ("segment", "s", {"when": "context.channel == 'sms'"}),
        "segments.s.when",
        "never 'sms'",
        "there are web",
    ),
    (
        ("signal", "s", SIGNAL | {"scope": {"channels": ["fax"]}}),
        "signals.s.scope.channels.0",
        "no placement has the channel 'fax'",
        "there are web",
    ),
    (
        ("signal", "s", SIGNAL | {"scope": {"goals": ["grow", "serve"]}}),
        "signals.s.scope.goals.1",
        "the goal 'serve' has no offers",
        "another goal",
    ),
    (
        ("signal", "s", SIGNAL | {"scope": {"groups": ["empty"]}}),
        "signals.s.scope.groups.0",
        "the group 'empty' has no offers",
        "another group",
    ),
    (
        ("signal", "s", SIGNAL | {"scope": {"offers": ["old"]}}),
        "signals.s.scope.offers.0",
        "the offer 'old' is ended",
        "another offer",
    ),
    (
        ("signal", "s", SIGNAL | {"scope": {"except_groups": ["cards"]}}),
        "signals.s.scope",
        "no offer is in it",
        "leave less out",
    ),
    (
        ("holdout", "h", {"share": 0.1, "goal": "serve"}),
        "holdouts.h.goal",
        "the goal 'serve' has no offers",
        "another goal",
    ),
    (
        ("holdout", "h", {"share": 0.1, "ends_ms": NOW_MS}),
        "holdouts.h.ends_at",
        "nobody is held out",
        "move it",
    ),
]

SECONDS: dict[str, tuple[Entry, str]] = {
    # The kind and the field, an entry in which it is 7, and the path of the warning.
    "group contact_limits window_s": (
        ("group", "cards", {"name": "C", "goal": "grow", "contact_limits": LIMITS}),
        "groups.cards.contact_limits.0.window_s",
    ),
    "offer contact_limits window_s": (
        ("offer", "gold", OFFER | {"contact_limits": LIMITS}),
        "offers.gold.contact_limits.0.window_s",
    ),
    "offer not_after within_s": (
        ("offer", "gold", OFFER | {"not_after": [{"within_s": 7}]}),
        "offers.gold.not_after.0.within_s",
    ),
    "offer after_rejection for_s": (
        ("offer", "gold", OFFER | {"after_rejection": [{"for_s": 7}]}),
        "offers.gold.after_rejection.0.for_s",
    ),
    "placement reward_window_s": (
        ("placement", "home", {"channel": "web", "reward_window_s": 7}),
        "placements.home.reward_window_s",
    ),
    "placement confirm_within_s": (
        ("placement", "home", {"channel": "web", "presentation": "explicit", "confirm_within_s": 7}),
        "placements.home.confirm_within_s",
    ),
    "contact_policy window_s": (
        ("contact_policy", "p", POLICY | {"window_s": 7}),
        "contact_policies.p.window_s",
    ),
    "contact_policy suppress_s": (
        ("contact_policy", "p", POLICY | {"suppress_s": 7}),
        "contact_policies.p.suppress_s",
    ),
    "capacity hold_s": (
        ("capacity", "c", {"name": "c", "max": 1, "counts": "accepted", "hold_s": 7}),
        "capacities.c.hold_s",
    ),
    "goal contact_limits window_s": (
        ("goal", "grow", {"contact_limits": LIMITS}),
        "goals.grow.contact_limits.0.window_s",
    ),
    "outcome suppress for_s": (
        ("outcome", "quoted", {"suppress": [{"for_s": 86_400}, {"for_s": 7}]}),
        "outcomes.quoted.suppress.1.for_s",
    ),
    "reason suppress for_s": (
        ("reason", "why", {"suppress": [{"for_s": 7}]}),
        "reasons.why.suppress.0.for_s",
    ),
    "signal lasts_s": (("signal", "s", SIGNAL | {"lasts_s": 7}), "signals.s.lasts_s"),
    "alert window_s": (
        ("alert", "a", {"watches": "degraded_share", "window_s": 7}),
        "alert_rules.a.window_s",
    ),
    "trigger on after_s": (
        ("trigger", "t", TRIGGER | {"on": {"event": "call", "after_s": 7}}),
        "triggers.t.on.after_s",
    ),
    "trigger within_s": (("trigger", "t", TRIGGER | {"within_s": 7}), "triggers.t.within_s"),
    "trigger again_after_s": (("trigger", "t", TRIGGER | {"again_after_s": 7}), "triggers.t.again_after_s"),
}


@pytest.mark.parametrize(
    ("entry", "field", "message", "way_out"), ODD, ids=lambda value: value if isinstance(value, str) else None
)
def test_what_was_probably_not_meant_is_said(entry: Entry, field: str, message: str, way_out: str) -> None:
    found = {warning.field: warning for warning in catalogue_warnings(built(entry), NOW_MS)}
    assert field in found
    assert message in found[field].message
    assert way_out in found[field].way_out
    assert str(found[field]) == f"{field}: {found[field].message} ({found[field].way_out})"


@pytest.mark.parametrize("name", SECONDS)
def test_seven_seconds_were_probably_days(name: str) -> None:
    entry, field = SECONDS[name]
    found = {warning.field: warning for warning in catalogue_warnings(built(entry), NOW_MS)}
    assert "is 7 seconds" in found[field].message
    assert "7 days would be 604800" in found[field].way_out


def test_no_field_of_seconds_is_forgotten() -> None:
    """Deployments are no part of files, and what their guardrails wait for may be short."""
    declared = {
        " ".join((kind.name, *path))
        for kind in KINDS.values()
        if kind.in_files
        for path in seconds_of(kind.cls)
        if path[0] not in kind.derived
    }
    assert declared == SECONDS.keys()


def seconds_of(cls: type) -> Iterator[tuple[str, ...]]:
    """The fields that hold seconds, in a class of the catalogue and those inside of it."""
    for name, hint in get_type_hints(cls).items():
        if name.endswith("_s"):
            yield (name,)
        for inner in classes_in(hint):
            yield from ((name, *path) for path in seconds_of(inner))


def classes_in(hint: Any) -> Iterator[type]:
    """The dataclasses that a type names."""
    if is_dataclass(hint):
        assert isinstance(hint, type)
        yield hint
    for part in get_args(hint):
        yield from classes_in(part)


@pytest.mark.parametrize(("window_s", "warned"), [(599, ["alert_rules.a.window_s"]), (600, [])])
def test_an_alert_that_usually_looks_at_days_does_not_look_at_minutes(
    window_s: int, warned: list[str]
) -> None:
    alert: Entry = ("alert", "a", {"watches": "acceptance_drop", "window_s": window_s})
    assert [w.field for w in catalogue_warnings(built(alert), NOW_MS)] == warned


def test_an_ended_offer_is_left_alone_and_a_draft_needs_no_treatment() -> None:
    draft = built(("offer", "draft", OFFER | {"status": "draft", "team": None}))
    assert catalogue_warnings(draft, NOW_MS) == []
    ended = built(
        (
            "offer",
            "old",
            OFFER | {"status": "ended", "lever": 0.1, "contact_limits": [{"max": 1, "window_s": 7}]},
        )
    )
    assert catalogue_warnings(ended, NOW_MS) == []


def test_warnings_of_a_change_are_its_own_and_those_that_it_causes_elsewhere() -> None:
    odd = ("contact_policy", "p", POLICY | {"window_s": 7})
    before = built(odd)
    after = built(odd, ("placement", "home", {"channel": "agent"}))
    found = [w.field for w in warnings_of_change(before, after, "placement", "home", NOW_MS)]
    assert found == ["placements.home.channel", "offers.gold.treatments"]
    own = warnings_of_change(before, after, "contact_policy", "p", NOW_MS)
    assert own[0].field == "contact_policies.p.window_s"


def test_warnings_about_a_treatment_are_those_of_its_offers_treatments() -> None:
    found = catalogue_warnings(built(("treatment", "gold/web", TREATMENT | {"channel": "sms"})), NOW_MS)
    assert [w.field for w in about(found, "treatment", "gold/web")] == ["offers.gold.treatments"]
    assert about(found, "offer", "gol") == []

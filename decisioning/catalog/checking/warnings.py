"""Finds what is allowed in a catalogue and was probably not meant. A warning never refuses anything.

All of them are computed here, over a whole catalogue: whether a capacity counts anything, or an offer can be shown
anywhere, is known only from the other things. Nothing here is on the path of a decision.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from decisioning.catalog.alert import WATCHES, Alert
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.checking.warning import CatalogueWarning
from decisioning.catalog.compared import KnownValues, compared_warnings, history_warnings
from decisioning.catalog.kinds import (
    ALERT,
    ARTICLE,
    CAPACITY,
    CONTACT_POLICY,
    CONTEXT_WEIGHT,
    GOAL,
    GROUP,
    HOLDOUT,
    KINDS,
    OFFER,
    OUTCOME,
    OVERRIDE,
    PLACEMENT,
    QUIET_HOURS,
    REASON,
    SIGNAL,
    TREATMENT,
    TRIGGER,
    section_path,
    top_level_kinds,
)
from decisioning.contact.signals import Signal
from decisioning.holdouts.holdout import Holdout
from decisioning.model.entities import (
    DEFAULT_HOLD_S,
    Capacity,
    GoalDemands,
    Group,
    Offer,
    Placement,
    effective_status,
)
from decisioning.model.outcome import DeclaredOutcome, Reason
from decisioning.model.trigger import Trigger
from decisioning.treatments.article import Article
from profiles.customer import OfferScope

MIN_WINDOW_S = 600
"""Shorter than this, a limit on contacts was probably meant in days, hours or minutes."""
MIN_REWARD_WINDOW_S, MIN_CONFIRM_S, MIN_HOLD_S = 60, 10, 30
MIN_WAIT_S = 60
"""The least that a trigger waits, or has to deliver, and that an alert looks at where minutes are usual."""
SMALL_PERCENT = 3.0
"""A fraction below it was probably meant as a factor."""
LARGE_MIN_PROPENSITY = 0.5
_DAY_S = 86_400


def catalogue_warnings(catalogue: Catalogue, now_ms: int) -> list[CatalogueWarning]:
    """Return all warnings about a catalogue, at a time (Unix ms), in the order of the kinds."""
    return list(_Check(catalogue, now_ms).warnings())


def about(found: Iterable[CatalogueWarning], kind: str, name: str) -> list[CatalogueWarning]:
    """Select the warnings about one thing; of a treatment, those about its offer's treatments and their lack too."""
    path = section_path(KINDS[kind], name)
    offer = section_path(OFFER, name.partition("/")[0]) if kind == TREATMENT.name else None
    return [
        w
        for w in found
        if w.field == path or w.field.startswith(f"{path}.") or w.field == f"{offer}.treatments"
    ]


def warnings_of_change(
    before: Catalogue, after: Catalogue, kind: str, name: str, now_ms: int
) -> list[CatalogueWarning]:
    """Return the warnings about a thing that was changed, and those about others that were not there before."""
    # The way out may name other things by now; it is the same warning.
    earlier = {(warning.field, warning.message) for warning in catalogue_warnings(before, now_ms)}
    found = catalogue_warnings(after, now_ms)
    own = about(found, kind, name)
    return own + [w for w in found if (w.field, w.message) not in earlier and w not in own]


@dataclass(frozen=True, slots=True)
class _Check:
    """One look over a catalogue."""

    catalogue: Catalogue
    now_ms: int

    def warnings(self) -> Iterator[CatalogueWarning]:
        """Yield the warnings of each kind."""
        checks: Mapping[str, Callable[[str, Any], Iterator[CatalogueWarning]]] = {
            GROUP.name: self._demands,
            GOAL.name: self._goal,
            OFFER.name: self._offer,
            PLACEMENT.name: self._placement,
            CONTACT_POLICY.name: self._contact_policy,
            QUIET_HOURS.name: self._quiet_hours,
            CAPACITY.name: self._capacity,
            OVERRIDE.name: self._override,
            CONTEXT_WEIGHT.name: self._context_weight,
            ARTICLE.name: self._article,
            OUTCOME.name: _suppresses,
            REASON.name: _suppresses,
            SIGNAL.name: self._signal,
            ALERT.name: _alert,
            TRIGGER.name: _trigger,
            HOLDOUT.name: self._holdout,
        }
        known = KnownValues(self.catalogue)
        for kind in top_level_kinds():
            check = checks.get(kind.name)
            for name, thing in sorted(self.catalogue.things(kind).items()):
                path = section_path(kind, name)
                if check is not None:
                    yield from check(path, thing)
                if kind.expressions is not None:
                    for use in kind.expressions(thing):
                        yield from compared_warnings(self.catalogue, f"{path}.{use.field}", use.source, known)
                        yield from history_warnings(f"{path}.{use.field}", use.source)

    def _offers(self, **wanted: str | None) -> list[Offer]:
        """Find the offers that are not ended, whose fields are what is given."""
        return [
            offer
            for offer in self.catalogue.offers.values()
            if effective_status(offer, self.now_ms) != "ended"
            and all(value is None or getattr(offer, name) == value for name, value in wanted.items())
        ]

    def _offers_of_goal(self, goal: str) -> list[Offer]:
        return [offer for offer in self._offers() if self.catalogue.groups[offer.group].goal == goal]

    @property
    def _channels(self) -> list[str]:
        return sorted({placement.channel for placement in self.catalogue.placements.values()})

    def _demands(self, path: str, thing: Offer | Group | GoalDemands) -> Iterator[CatalogueWarning]:
        yield from _percent(f"{path}.lever", thing.lever)
        for i, limit in enumerate(thing.contact_limits):
            yield from _seconds(f"{path}.contact_limits.{i}.window_s", limit.window_s, MIN_WINDOW_S)

    def _goal(self, path: str, goal: GoalDemands) -> Iterator[CatalogueWarning]:
        yield from self._demands(path, goal)
        yield from self._nobody(path, "goal", goal.goal, self._offers_of_goal(goal.goal))

    def _offer(self, path: str, offer: Offer) -> Iterator[CatalogueWarning]:
        status = effective_status(offer, self.now_ms)
        if status == "ended":
            if offer.status != "ended":
                yield CatalogueWarning(
                    f"{path}.ends_at", "lies in the past, so it is never offered", "move it, or end the offer"
                )
            return
        yield from self._demands(path, offer)
        yield from _limits(path, offer)
        if offer.value == 0 and offer.value_expression is None and not offer.mandatory:
            yield CatalogueWarning(
                f"{path}.value",
                "is 0, so its score is 0 wherever value counts",
                "say what an acceptance is worth",
            )
        yield from _propensity(path, offer.min_propensity)
        if offer.offer_id in offer.not_with:
            yield CatalogueWarning(f"{path}.not_with", "names the offer itself", "name the other offers")
        for i, rejection in enumerate(offer.after_rejection):
            if rejection.attribute is not None and rejection.attribute not in offer.attributes:
                yield CatalogueWarning(
                    f"{path}.after_rejection.{i}.attribute",
                    f"the offer has no attribute {rejection.attribute!r}, so nothing is suppressed",
                    _one_of(rejection.attribute, offer.attributes, "give it the attribute"),
                )
        if status in ("live", "scheduled"):
            yield from self._treatments(path, offer)

    def _treatments(self, path: str, offer: Offer) -> Iterator[CatalogueWarning]:
        channels = self._channels
        if not channels:
            return
        shown = sorted({treatment.channel for treatment in offer.treatments})
        for treatment in offer.treatments:
            if treatment.channel not in channels and len(shown) > 1:
                yield CatalogueWarning(
                    f"{path}.treatments.{treatment.treatment_id}.channel",
                    f"no placement has the channel {treatment.channel!r}",
                    _one_of(treatment.channel, channels, "make a placement of this channel"),
                )
        if not set(shown) & set(channels):
            have = f"only for {', '.join(shown)}" if shown else "none at all"
            yield CatalogueWarning(
                f"{path}.treatments",
                f"the offer is {offer.status} and has no treatment for a channel of any placement ({have}):"
                " nobody gets it",
                f"add a treatment for {' or '.join(channels)}",
            )

    def _placement(self, path: str, placement: Placement) -> Iterator[CatalogueWarning]:
        yield from _seconds(f"{path}.reward_window_s", placement.reward_window_s, MIN_REWARD_WINDOW_S)
        if placement.presentation == "explicit":
            yield from _seconds(f"{path}.confirm_within_s", placement.confirm_within_s, MIN_CONFIRM_S)
        yield from _propensity(path, placement.min_propensity)
        for i, offer_id in enumerate(placement.default_offers):
            offer = self.catalogue.offers[offer_id]
            field = f"{path}.default_offers.{i}"
            status = effective_status(offer, self.now_ms)
            if status in ("ended", "draft", "paused"):
                yield CatalogueWarning(
                    field, f"the offer {offer_id!r} is {status}, so it cannot stand in", "name a live offer"
                )
            elif all(treatment.channel != placement.channel for treatment in offer.treatments):
                yield CatalogueWarning(
                    field,
                    f"the offer {offer_id!r} has no treatment for the channel {placement.channel!r}",
                    "add the treatment, or name another offer",
                )
        if all(t.channel != placement.channel for offer in self._offers() for t in offer.treatments):
            channels = {t.channel for offer in self._offers() for t in offer.treatments}
            if channels:
                yield CatalogueWarning(
                    f"{path}.channel",
                    f"no offer has a treatment for the channel {placement.channel!r}: it has nothing to offer",
                    _one_of(placement.channel, channels, "add treatments for it"),
                )

    def _contact_policy(self, path: str, policy: Any) -> Iterator[CatalogueWarning]:
        yield from _seconds(f"{path}.window_s", policy.window_s, MIN_WINDOW_S)
        yield from _seconds(f"{path}.suppress_s", policy.suppress_s, MIN_WINDOW_S)
        yield from self._known_channels(path, policy.channels)
        name = policy.applies_to
        if name is not None and policy.scope in ("group", "goal"):
            offers = self._offers(group=name) if policy.scope == "group" else self._offers_of_goal(name)
            yield from self._nobody(f"{path}.applies_to", policy.scope, name, offers)

    def _quiet_hours(self, path: str, hours: Any) -> Iterator[CatalogueWarning]:
        yield from self._known_channels(path, hours.channels)
        if hours.start == hours.end:
            yield CatalogueWarning(
                f"{path}.end", "is the start, so it is always quiet", "write another end, such as 08:00"
            )

    def _known_channels(self, path: str, channels: Collection[str]) -> Iterator[CatalogueWarning]:
        known = self._channels
        for i, channel in enumerate(channels):
            if known and channel not in known:
                yield CatalogueWarning(
                    f"{path}.channels.{i}",
                    f"no placement has the channel {channel!r}",
                    _one_of(channel, known, "leave channels out for all of them"),
                )

    def _capacity(self, path: str, capacity: Any) -> Iterator[CatalogueWarning]:
        yield from _counting(path, capacity)
        teams = {offer.team for offer in self._offers() if offer.team is not None}
        if capacity.team is not None and capacity.team not in teams:
            yield CatalogueWarning(
                f"{path}.team",
                f"no offer has the team {capacity.team!r}, so nothing counts against it",
                _one_of(capacity.team, teams, "give the team to the offers that it handles"),
            )
            return
        yield from self._known_channels_of_one(path, capacity.channel)
        offers = self._offers(offer_id=capacity.offer, group=capacity.group, team=capacity.team)
        named = [name for name in ("offer", "group", "team") if getattr(capacity, name) is not None]
        if named and not offers:
            wanted = " and ".join(f"the {name} {getattr(capacity, name)!r}" for name in named)
            yield CatalogueWarning(
                f"{path}.{named[-1]}",
                f"no offer that has not ended has {wanted}, so nothing counts against it",
                "name what the offers have",
            )

    def _known_channels_of_one(self, path: str, channel: str | None) -> Iterator[CatalogueWarning]:
        known = self._channels
        if channel is not None and known and channel not in known:
            yield CatalogueWarning(
                f"{path}.channel",
                f"no placement has the channel {channel!r}, so nothing counts against it",
                _one_of(channel, known, "leave it out for all channels"),
            )

    def _override(self, path: str, override: Any) -> Iterator[CatalogueWarning]:
        if override.ends_ms <= self.now_ms:
            yield CatalogueWarning(
                f"{path}.ends_at", "lies in the past: it does nothing", "move it, or delete it"
            )
            return
        yield from self._scope(path, override)

    def _context_weight(self, path: str, weight: Any) -> Iterator[CatalogueWarning]:
        yield from _percent(f"{path}.percent", weight.percent)
        yield from self._scope(path, weight)
        if weight.goal is not None:
            yield from self._nobody(f"{path}.goal", "goal", weight.goal, self._offers_of_goal(weight.goal))

    def _article(self, path: str, article: Article) -> Iterator[CatalogueWarning]:
        yield from self._known_channels(path, article.channels)
        if article.ends_ms <= self.now_ms:
            yield CatalogueWarning(
                f"{path}.ends_at", "lies in the past: nobody finds it any more", "move it, or delete it"
            )

    def _signal(self, path: str, signal: Signal) -> Iterator[CatalogueWarning]:
        if signal.lasts_s is not None:
            yield from _seconds(f"{path}.lasts_s", signal.lasts_s, MIN_WINDOW_S)
        scope = signal.scope
        yield from self._known_channels(f"{path}.scope", scope.channels)
        named = list(self._without_offers(f"{path}.scope", scope))
        yield from named
        # Something is left out of it, for else each name that has no offers was told of.
        if not named and scope != OfferScope(channels=scope.channels) and not self._offers_in(scope):
            yield CatalogueWarning(
                f"{path}.scope",
                "no offer is in it, so this does nothing",
                "leave less out of it, or delete it",
            )

    def _without_offers(self, path: str, scope: OfferScope) -> Iterator[CatalogueWarning]:
        for i, goal in enumerate(scope.goals):
            yield from self._nobody(f"{path}.goals.{i}", "goal", goal, self._offers_of_goal(goal))
        for i, group in enumerate(scope.groups):
            yield from self._nobody(f"{path}.groups.{i}", "group", group, self._offers(group=group))
        for i, offer_id in enumerate(scope.offers):
            yield from self._nobody(f"{path}.offers.{i}", "offer", offer_id, self._offers(offer_id=offer_id))

    def _offers_in(self, scope: OfferScope) -> list[Offer]:
        """Find the offers that are not ended and in a scope, in any channel."""
        anywhere = replace(scope, channels=())
        return [
            offer
            for offer in self._offers()
            if anywhere.covers(offer.offer_id, offer.group, self.catalogue.groups[offer.group].goal, "")
        ]

    def _holdout(self, path: str, holdout: Holdout) -> Iterator[CatalogueWarning]:
        if holdout.ends_ms <= self.now_ms:
            yield CatalogueWarning(
                f"{path}.ends_at", "lies in the past: nobody is held out any more", "move it, or delete it"
            )
            return
        if holdout.goal is not None:
            yield from self._nobody(f"{path}.goal", "goal", holdout.goal, self._offers_of_goal(holdout.goal))

    def _scope(self, path: str, scoped: Any) -> Iterator[CatalogueWarning]:
        if scoped.group is not None:
            yield from self._nobody(f"{path}.group", "group", scoped.group, self._offers(group=scoped.group))
        if scoped.offer is not None:
            yield from self._nobody(
                f"{path}.offer", "offer", scoped.offer, self._offers(offer_id=scoped.offer)
            )

    @staticmethod
    def _nobody(field: str, what: str, name: str, offers: Collection[Offer]) -> Iterator[CatalogueWarning]:
        if offers:
            return
        message = f"the {what} {name!r} has no offers" if what != "offer" else f"the offer {name!r} is ended"
        yield CatalogueWarning(
            field, f"{message}, so this does nothing", f"name another {what}, or delete it"
        )


def _limits(path: str, offer: Offer) -> Iterator[CatalogueWarning]:
    for i, after in enumerate(offer.not_after):
        yield from _seconds(f"{path}.not_after.{i}.within_s", after.within_s, MIN_WINDOW_S)
    for i, rejection in enumerate(offer.after_rejection):
        yield from _seconds(f"{path}.after_rejection.{i}.for_s", rejection.for_s, MIN_WINDOW_S)


def _suppresses(path: str, cause: DeclaredOutcome | Reason) -> Iterator[CatalogueWarning]:
    for i, rule in enumerate(cause.suppress):
        yield from _seconds(f"{path}.suppress.{i}.for_s", rule.for_s, MIN_WINDOW_S)


def _alert(path: str, alert: Alert) -> Iterator[CatalogueWarning]:
    if alert.window_s is not None:
        usual_s = WATCHES[alert.watches].window_s
        least = MIN_WINDOW_S if usual_s >= _DAY_S else MIN_WAIT_S
        yield from _seconds(f"{path}.window_s", alert.window_s, least)


def _trigger(path: str, trigger: Trigger) -> Iterator[CatalogueWarning]:
    if trigger.on.after_s is not None:
        yield from _seconds(f"{path}.on.after_s", trigger.on.after_s, MIN_WAIT_S)
    yield from _seconds(f"{path}.within_s", trigger.within_s, MIN_WAIT_S)
    yield from _seconds(f"{path}.again_after_s", trigger.again_after_s, MIN_WINDOW_S)


def _seconds(field: str, value: int, least: int) -> Iterator[CatalogueWarning]:
    if 0 < value < least:
        plural = "" if value == 1 else "s"
        yield CatalogueWarning(
            field,
            f"is {value} second{plural}, which is over before anybody notices",
            f"{value} day{plural} would be {value * _DAY_S}, {value} hour{plural} {value * 3600}",
        )


def _counting(path: str, capacity: Capacity) -> Iterator[CatalogueWarning]:
    if capacity.counts_later:
        yield from _seconds(f"{path}.hold_s", capacity.hold_s, MIN_HOLD_S)
    elif capacity.hold_s != DEFAULT_HOLD_S or capacity.overbook is not None:
        field = "hold_s" if capacity.overbook is None else "overbook"
        yield CatalogueWarning(
            f"{path}.{field}",
            "does nothing where decisions are counted",
            "add counts: accepted, or leave it out",
        )


def _percent(field: str, value: float) -> Iterator[CatalogueWarning]:
    if 0 < abs(value) < SMALL_PERCENT and not float(value).is_integer():
        factor = f", a factor of {value:g} is {(value - 1) * 100:g}" if value > 0 else ""
        yield CatalogueWarning(
            field,
            f"is {value:g} %, which changes next to nothing",
            f"{value * 100:g} % is {value * 100:g}{factor}",
        )
    if value == -100:
        yield CatalogueWarning(
            field, "is -100 %: all scores that it applies to become 0", "pause the offers, or write a rule"
        )


def _propensity(path: str, least: float) -> Iterator[CatalogueWarning]:
    if least >= LARGE_MIN_PROPENSITY:
        yield CatalogueWarning(
            f"{path}.min_propensity",
            f"is {least:g}: only offers that {least * 100:g} % of such customers accept are left",
            f"{least:g} % is {least / 100:g}",
        )


def _one_of(name: str, known: Iterable[str], otherwise: str) -> str:
    """Say what may have been meant, or what there is, or what to do otherwise."""
    there = sorted(known)
    near = get_close_matches(name, there, n=1, cutoff=0.7)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there are {', '.join(there[:10])}; or {otherwise}" if there else otherwise

"""The funnel of one offer over logged decisions: in play, stopped by which rule, shown, accepted. Pure."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
from msgspec.structs import astuple

from decisioning.capacity.matching import underpriced_stop
from decisioning.catalog.catalogue import Catalogue
from decisioning.decide.eligibility import stops_of
from decisioning.decide.explanation import stops_outside_view
from decisioning.errors import NotFound
from decisioning.evaluation.replay_service import logged_inputs
from decisioning.model.decision import CustomerSnapshot, LoggedDecision
from decisioning.model.selection import Withheld
from decisioning.model.stop import StageName, Stop
from decisioning.reporting.without_offer import StoppedBy

MAX_RULES = 50
_OUT_OF_PLAY = ("status", "channel")
STAGES: tuple[StageName, ...] = tuple(
    stage for stage in get_args(StageName) if stage not in _OUT_OF_PLAY and stage != "arbitration"
)
"""The stages between an offer that is in play and a candidate, in their order."""
_PRESENTED = frozenset({"presented", "clicked", "accepted", "rejected"})
"""An answer says that the offer was seen, too."""


def stops_in(catalogue: Catalogue, logged: LoggedDecision, offer_id: str) -> list[Stop] | None:
    """Return all that kept an offer from being chosen in a decision, in the order of the stages; empty if it was.

    ``catalogue``: that of its time. A candidate that was not chosen is stopped by ``arbitration``, which names the
    offer of the first slot. ``None`` where nobody can tell any more: the customer was erased since.
    """
    decision = logged.decision
    if any(one.offer_id == offer_id for one in decision.offers):
        return []
    offer = catalogue.offers.get(offer_id)
    if offer is None:
        return [Stop("status", "not in the catalogue", None, "live")]
    try:
        view = catalogue.view(decision.placement)
    except NotFound:  # it decided just before the placement was there in this version
        return None
    found = np.flatnonzero(view.numbers == offer.number)
    if not len(found):
        return stops_outside_view(offer, view)
    if offer.number in logged.candidates:
        first = min(decision.offers, key=lambda one: one.rank, default=None)
        return [Stop("arbitration", "no offer was chosen" if first is None else first.offer_id)]
    if decision.erased:
        return None
    stops = stops_of(logged_inputs(catalogue, view, logged), int(found[0]))
    return stops or [_stop_after_stages(catalogue, logged, offer.number)]


def _stop_after_stages(catalogue: Catalogue, logged: LoggedDecision, number: int) -> Stop:
    snapshot = logged.decision.customer_snapshot or CustomerSnapshot()
    for one in snapshot.withheld:
        if one.number == number:
            return underpriced_stop(catalogue.capacities.get(one.capacity_id), Withheld(*astuple(one)))
    if number in dict(snapshot.unlikely):
        return Stop("propensity", "minimum propensity")
    return Stop("contact", "a limit that was reached by another decision meanwhile")


@dataclass
class OfferFunnel:
    """Counts what became of one offer in decisions. ``only`` by rule: those that nothing else stopped."""

    offer_id: str
    sampled: int = 0
    unexplained: int = 0
    shown: int = 0
    presented: int = 0
    accepted: int = 0
    as_default: int = 0
    stages: Counter[str] = field(default_factory=Counter)
    rules: Counter[StoppedBy] = field(default_factory=Counter)
    only: Counter[StoppedBy] = field(default_factory=Counter)

    def add(self, catalogue: Catalogue, logged: LoggedDecision, told: Collection[str]) -> None:
        """Count a decision. ``told``: the outcomes of this offer in it."""
        decision = logged.decision
        self.sampled += 1
        if any(one.offer_id == self.offer_id for one in decision.default_offers or ()):
            self.as_default += 1
        stops = stops_in(catalogue, logged, self.offer_id)
        if stops is None:
            self.unexplained += 1
        elif stops:
            rules = [StoppedBy(stop.stage, stop.name, stop.inherited_from) for stop in stops]
            self.stages[rules[0].stage] += 1
            self.rules[rules[0]] += 1
            if len(set(rules)) == 1:
                self.only[rules[0]] += 1
        else:
            self.shown += 1
            self.presented += decision.presentation == "implicit" or not _PRESENTED.isdisjoint(told)
            self.accepted += "accepted" in told

    def report(self) -> dict[str, Any]:
        """Report the counts: stages in their order, rules with the one that stops most first."""
        in_play = self.sampled - self.unexplained - sum(self.stages[stage] for stage in _OUT_OF_PLAY)
        order = sorted(self.rules, key=lambda rule: (-self.rules[rule], rule.stage, rule.name))
        return {
            "offer_id": self.offer_id,
            "sampled": self.sampled,
            "unexplained": self.unexplained,
            "in_play": in_play,
            "candidates": self.shown + self.stages["arbitration"],
            "shown": self.shown,
            "presented": self.presented,
            "accepted": self.accepted,
            "as_default": self.as_default,
            "stages": [
                {"stage": stage, "decisions": self.stages[stage]}
                for stage in (*_OUT_OF_PLAY, *STAGES, "arbitration")
                if self.stages[stage]
            ],
            "rules": [
                rule._asdict() | {"decisions": self.rules[rule], "only": self.only[rule]}
                for rule in order[:MAX_RULES]
            ],
            "more_rules": max(len(order) - MAX_RULES, 0),
        }

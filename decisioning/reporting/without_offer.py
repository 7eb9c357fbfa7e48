"""Counts customers whom the rules leave without any offer, and finds which rule stops most. Pure."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bandits.intervals import wilson_interval
from decisioning.decide.eligibility import EligibilityInputs, stops_of
from decisioning.model.stop import StageName, Stop

MAX_RULES = 50
MAX_EXAMPLES = 5
_UNLIKELY = Stop("propensity", "minimum propensity")
_NO_ROWS = Stop("channel", "no live offer has a treatment in this channel")


class StoppedBy(NamedTuple):
    """A rule, limit or consent that stops offers; ``inherited_from`` as in ``Stop``."""

    stage: StageName
    name: str
    inherited_from: str | None


@dataclass
class EmptyCounts:
    """Counts why nothing was left for customers.

    Of each of them, every offer of the placement is stopped by something: it counts for the first rule that does so.
    ``offers`` by rule: how many such pairs of customer and offer. ``customers`` by rule: for how many it was the one
    that stopped most of their offers (in doubt the one that comes first in the pipeline). ``only`` by rule: how many
    would have had an offer had this rule alone not been.
    """

    empty: int = 0
    stages: Counter[str] = field(default_factory=Counter)
    offers: Counter[StoppedBy] = field(default_factory=Counter)
    customers: Counter[StoppedBy] = field(default_factory=Counter)
    only: Counter[StoppedBy] = field(default_factory=Counter)
    examples: defaultdict[StoppedBy, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, inputs: EligibilityInputs) -> None:
        """Count a customer for whom nothing was left."""
        self.empty += 1
        own: Counter[StoppedBy] = Counter()
        alone: set[StoppedBy] = set()
        all_stops = [stops_of(inputs, row) or [_UNLIKELY] for row in range(len(inputs.view.offers))]
        for stops in all_stops or [[_NO_ROWS]]:
            rules = [StoppedBy(stop.stage, stop.name, stop.inherited_from) for stop in stops]
            self.stages[rules[0].stage] += 1
            own[rules[0]] += 1
            if len(set(rules)) == 1:
                alone.add(rules[0])
        self.offers.update(own)
        self.only.update(alone)
        most = own.most_common(1)[0][0]
        self.customers[most] += 1
        customer_id = inputs.profile.customer.customer_id
        examples = self.examples[most]
        if len(examples) < MAX_EXAMPLES and customer_id not in examples:
            examples.append(customer_id)

    def report(self, looked_at: int, empty: int) -> dict[str, Any]:
        """Report on ``looked_at`` customers or decisions, of which ``empty`` had nothing: all or some explained."""
        share, low, high = wilson_interval(empty, looked_at)
        order = sorted(self.offers, key=lambda rule: (-self.customers[rule], -self.offers[rule], rule.name))
        return {
            "looked_at": looked_at,
            "without_offer": empty,
            "share": share,
            "low": low,
            "high": high,
            "explained": self.empty,
            "stages": dict(self.stages.most_common()),
            "rules": [
                rule._asdict()
                | {
                    "customers": self.customers[rule],
                    "offers": self.offers[rule],
                    "only": self.only[rule],
                    "examples": self.examples.get(rule, []),
                }
                for rule in order[:MAX_RULES]
            ],
            "more_rules": max(len(order) - MAX_RULES, 0),
        }

"""The choice among the channels of a trigger: by what is expected there less what a contact costs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PREFERENCE = "preferred_channel"
"""The customer's attribute that names the channels that the customer prefers, the most preferred first, with commas."""
MAX_REASONS = 3
FORBIDDING_STAGES = frozenset({"status", "dates", "holdout", "consent", "suppression", "quiet_hours"})
"""Stages that hold back what was decided before. Limits and capacity do not: they count the decision itself."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """A placement that has an offer for the customer now. ``expected``: its value; ``cost``: of a contact there."""

    placement: str
    channel: str
    expected: float
    cost: float

    @property
    def net(self) -> float:
        """The expected value less the cost."""
        return self.expected - self.cost


def selected_offers(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the offers of an answer that a policy selected: without default offers, which no limit counts."""
    return [offer for offer in answer["offers"] if offer.get("score") is not None]


def expected_value(offers: Iterable[Mapping[str, Any]]) -> float | None:
    """Return the highest ``P x V`` of offers that were selected; ``None`` if there are none."""
    return max((offer["factors"]["P"] * offer["factors"]["V"] for offer in offers), default=None)


def preferred_channels(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Read the channels that a customer prefers, the most preferred first."""
    told = attributes.get(PREFERENCE)
    names = told.split(",") if isinstance(told, str) else ()
    return tuple(name.strip() for name in names if name.strip())


def rank_channels(prospects: Iterable[Prospect], preferred: Sequence[str]) -> list[Prospect]:
    """Sort the prospects that are worth their cost: those in preferred channels first, then by the net value.

    Of equal ones the first that was given comes first.
    """
    places = {channel: place for place, channel in reversed(list(enumerate(preferred)))}
    worthwhile = [prospect for prospect in prospects if prospect.net > 0]
    return sorted(worthwhile, key=lambda p: (places.get(p.channel, len(places)), -p.net))


def describe_stops(explanation: Iterable[Mapping[str, Any]]) -> str:
    """Say what stopped most offers of an explanation, such as ``consent 'marketing' (3 offers), dates 'over' (1)``.

    Names rules and limits, and nothing that is known of the customer.
    """
    first = (entry["stops"][0] for entry in explanation if entry["result"] == "stopped")
    found = Counter((str(stop["stage"]), str(stop["name"])) for stop in first).most_common(MAX_REASONS)
    told = [f"{stage} {name!r} ({count})" for (stage, name), count in found]
    return f"stopped by {', '.join(told)}" if told else "nothing was selected"


def forbidden_now(offer_id: str, explanation: Iterable[Mapping[str, Any]]) -> str | None:
    """Say by what stage and rule an offer that was decided before may not be sent now; ``None`` if it may."""
    entry = next((entry for entry in explanation if entry["offer_id"] == offer_id), None)
    if entry is None:
        return "status 'deleted'"
    stops = (stop for stop in entry.get("stops", ()) if stop["stage"] in FORBIDDING_STAGES)
    return next((f"{stop['stage']} {stop['name']!r}" for stop in stops), None)


def describe_loss(prospect: Prospect) -> str:
    """Say that a channel costs as much as is expected there, or more."""
    return f"{prospect.expected:.4g} is expected, and a contact costs {prospect.cost:.4g}"

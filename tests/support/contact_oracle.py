"""An oracle of contact policies that knows only lists of contacts.

It counts by going through everything that ever happened, for each rule in its own words. It shares no code with the
policy, neither the Python nor the Lua.
"""

from collections.abc import Callable
from dataclasses import dataclass

GROUP_OF = {
    "gold": "cards",
    "blue": "cards",
    "home": "loans",
    "car": "loans",
    "bill": "service",
    "news": "service",
}
GOAL_OF = {"cards": "grow", "loans": "acquire", "service": "serve"}


@dataclass
class Event:
    """A contact as the oracle remembers it."""

    at_ms: int
    offer: str
    kind: str
    channel: str
    decision: str

    @property
    def counts(self) -> bool:
        return self.offer != "bill"


class Oracle:
    """The events so far, and the limits that follow from them."""

    def __init__(self, wishes: dict[str, float]) -> None:
        self.events: list[Event] = []
        self.wishes = wishes

    def full(
        self, matching: Callable[[Event], bool], most: float, window_s: float, now: int, pause_s: int = 0
    ) -> bool:
        """True if no more contact may take place, by trying out every moment since the first one."""
        times = [e.at_ms for e in self.events if matching(e)]

        def count(moment: int, last: int | None = None) -> int:
            return sum(moment - window_s * 1000 < t and (last is None or t <= last) for t in times)

        if count(now) >= most:
            return True
        return any(count(t, t) >= most and now < t + pause_s * 1000 for t in times)

    def forbids(self, offer: str, channel: str, now: int) -> bool:
        """True if any rule of the catalogue or wish of the customer forbids an offer."""
        return (offer != "bill" and self._too_often(offer, channel, now)) or self._excluded(offer, now)

    def _too_often(self, offer: str, channel: str, now: int) -> bool:
        group = GROUP_OF[offer]
        goal = GOAL_OF[group]

        def decided(e: Event) -> bool:
            return e.kind == "decided" and e.counts

        checks = [
            self.full(decided, 3, 30, now),
            self.full(lambda e: decided(e) and GROUP_OF[e.offer] == group, 2, 20, now, 25),
        ]
        if goal == "acquire":
            loans = ("presented", "accepted")
            checks.append(
                self.full(lambda e: e.kind in loans and GOAL_OF[GROUP_OF[e.offer]] == goal, 1, 40, now)
            )
        if channel == "phone":
            checks.append(
                self.full(lambda e: decided(e) and e.offer == offer and e.channel == "phone", 1, 12, now)
            )
        if offer == "gold":
            checks.append(self.full(lambda e: decided(e) and e.offer == "gold", 2, 10, now))
        if "max_contacts_per_day" in self.wishes:
            checks.append(self.full(decided, self.wishes["max_contacts_per_day"], 86_400, now))
        if "max_contacts_per_week" in self.wishes:
            checks.append(self.full(decided, int(self.wishes["max_contacts_per_week"]), 7 * 86_400, now))
        if "min_gap_s" in self.wishes:
            checks.append(self.full(decided, 1, self.wishes["min_gap_s"], now))
        return any(checks)

    def _excluded(self, offer: str, now: int) -> bool:
        def since(offers: set[str], kinds: set[str], within_s: int) -> bool:
            return any(
                e.offer in offers and e.kind in kinds and now - e.at_ms < within_s * 1000 for e in self.events
            )

        cards, brand = {"gold", "blue"}, {"home", "car", "news"}
        return (
            (offer in cards and since({"gold"}, {"rejected"}, 30))
            or (offer == "blue" and since({"home"}, {"accepted"}, 20))
            or (offer in brand and since({"home"}, {"rejected"}, 60))
            or (offer == "car" and since(cards, {"decided", "clicked"}, 15))
            or (offer == "bill" and since({"bill"}, {"rejected"}, 20))
        )

    def add(self, at_ms: int, offer: str, kind: str, channel: str, decision: str) -> None:
        self.events.append(Event(at_ms, offer, kind, channel, decision))

    def held(self) -> set[tuple[str, str, str, str, int]]:
        """Return the entries that the contact history should hold."""
        return {
            (e.offer, GROUP_OF[e.offer], e.kind[0] if e.counts else e.kind[0].upper(), e.channel, e.at_ms)
            for e in self.events
            if e.counts or e.kind != "decided"
        }

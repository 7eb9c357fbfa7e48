"""Outcomes of decided offers: those that are declared, and records of them as logged."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from bandits.policy import NO_FACTS, Facts
from decisioning.model.position import StreamPosition

Identity = tuple[str, int, str | None, str | None]
"""Decision id and time (Unix ms), for an outcome its offer and kind: the same wherever in the log the record stands."""

SHOWN = ("shown", "presented", "clicked")
"""Outcomes that say that an offer was seen. ``shown`` is the decision itself where nobody has to confirm that."""
BUILT_IN = ("presented", "clicked", "accepted", "rejected")
"""Outcomes that are always taken, whatever a catalogue declares."""
ENDINGS = ("expired", "released", "withdrawn", "closed")
"""What the log itself says of an offer; nobody sends it."""
RESERVED = ("shown", "decided", "none", "unknown", "answered", *ENDINGS)
"""Names that no declared outcome may have."""
ANSWER_PLACE = 100
"""The place in the funnel of ``accepted`` and ``rejected``, unless they are declared with another one."""


SuppressScope = Literal["offer", "group", "goal", "channel", "all"]


@dataclass(frozen=True, slots=True)
class Suppress:
    """For ``for_s`` seconds nothing of the same offer, group or goal is offered, nothing in the channel, or nothing."""

    for_s: int
    scope: SuppressScope = "offer"


@dataclass(frozen=True, slots=True)
class DeclaredOutcome:
    """An outcome that callers may send, and what it earns (negative: what it costs).

    ``place``: where in the funnel it stands, from 1; of outcomes with a place the one that is furthest counts, and its
    reward stands in the place of earlier ones. Without a place the reward is added to what is earned otherwise.
    ``terminal``: once it was told, no other outcome with a place is taken. ``suppress``: what is not offered after it.
    """

    outcome_id: str
    name: str = ""
    reward: float = 0.0
    place: int | None = None
    terminal: bool = False
    suppress: tuple[Suppress, ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason that may be told with an outcome, such as why an offer was rejected, and what it suppresses."""

    reason_id: str
    name: str = ""
    suppress: tuple[Suppress, ...] = ()


@dataclass(frozen=True, slots=True)
class Consequences:
    """The consequences of an outcome. ``worth``: what it earns, as ``worth_text`` writes it; ``reason``: why it was.

    ``causes``: for what it suppresses other offers, outcomes and ``reason/<id>``, which matters for ``suppress_ms``.
    """

    worth: str = ""
    reason: str | None = None
    causes: tuple[str, ...] = ()
    suppress_ms: int = 0


NOTHING_FOLLOWS = Consequences()


@dataclass(frozen=True, slots=True)
class OutcomeRules:
    """The outcomes and reasons that a catalogue declares, by id."""

    outcomes: Mapping[str, DeclaredOutcome] = field(default_factory=dict)
    reasons: Mapping[str, Reason] = field(default_factory=dict)
    _consequences: dict[tuple[str, str | None], Consequences] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def suppressions(self) -> dict[str, tuple[Suppress, ...]]:
        """Return what is not offered after what: by outcome, and by ``reason/<id>``."""
        found = {name: outcome.suppress for name, outcome in self.outcomes.items()}
        found |= {f"reason/{name}": reason.suppress for name, reason in self.reasons.items()}
        return {cause: rules for cause, rules in found.items() if rules}

    def consequences(self, outcome: str, reason: str | None) -> Consequences:
        """Return what follows from an outcome that there is, told with a reason that there is, or without one."""
        found = self._consequences.get((outcome, reason))
        if found is None:
            found = self._consequences[outcome, reason] = self._find_consequences(outcome, reason)
        return found

    def _find_consequences(self, outcome: str, reason: str | None) -> Consequences:
        known = self.suppressions()
        causes = tuple(cause for cause in (outcome, f"reason/{reason}") if cause in known)
        suppress_ms = max((rule.for_s * 1000 for cause in causes for rule in known[cause]), default=0)
        return Consequences(worth_text(outcome, self.outcomes), reason, causes, suppress_ms)


NO_RULES = OutcomeRules()


@dataclass(frozen=True, slots=True)
class Earned:
    """The earnings of an offer of a decision by the outcomes so far.

    ``before``: what was counted until this outcome; ``None`` if nothing was, not even silence. ``after``: what counts
    from now on, for the time ``since_ms`` (Unix ms), which stays the same: one is exchanged for the other. ``after`` is
    ``placed``, the reward of the outcome that is furthest in the funnel (at ``place``, 0 if none is there), and
    ``extra``, the sum of the others. ``terminal``: the outcome that ended it, if one did.
    """

    before: float | None
    after: float
    since_ms: int
    place: int
    placed: float
    extra: float
    terminal: str | None = None

    @property
    def text(self) -> str:
        """As it stands in the log, and in the hash of a waiting decision (``g`` in ``storage/lua/0_library.lua``)."""
        before = "-" if self.before is None else repr(self.before)
        numbers = f"{self.after!r} {self.since_ms} {self.place} {self.placed!r} {self.extra!r}"
        return f"{before} {numbers} {self.terminal or '-'}"


def parse_earned(text: str) -> Earned | None:
    """Read the text of what is earned; ``None`` for an empty one. Raises ``ValueError``."""
    if not text:
        return None
    before, after, since_ms, place, placed, extra, terminal = text.split(" ")
    return Earned(
        None if before == "-" else float(before),
        float(after),
        int(since_ms),
        int(place),
        float(placed),
        float(extra),
        None if terminal == "-" else terminal,
    )


def worth_text(outcome: str, declared: Mapping[str, DeclaredOutcome]) -> str:
    """Write what an outcome earns for ``nb_feedback``: ``<reward> <place> <1 if terminal>``.

    Empty if it earns nothing of its own: where none is declared, and for ``presented`` and ``clicked`` unless they are.
    """
    known = declared.get(outcome)
    if known is None and declared and outcome in ("accepted", "rejected"):
        known = DeclaredOutcome(outcome, reward=float(outcome == "accepted"), place=ANSWER_PLACE)
    if known is None:
        return ""
    place = known.place
    if place is None:
        place = ANSWER_PLACE if outcome in ("accepted", "rejected") else 0
    return f"{known.reward!r} {place} {int(known.terminal)}"


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The record of what happened to one decided offer. Times are Unix milliseconds.

    ``reward`` is ``None`` if nothing is learned. ``estimate`` and ``worth``: the propensity and the value that the
    decision expected of the offer, NaN if they are not known. ``facts``: what was known of the request, by path, as
    far as policies learn from it. ``policy``: the key of the policy that decided. ``silence_ms``: when silence was
    counted for the offer; by this outcome if it is ``SHOWN``, else by an earlier one, and this one may take it back.
    A ``closed`` one repeats the reward of the answer (``None`` if that was late) for those who count results of closed
    windows only; it is ``late``, so nobody learns from it again. ``earned``: what the offer has earned by then, where
    outcomes are declared; ``None`` if this one changes nothing about it. ``reason``: the declared one that was told
    with it. ``causes``: for what it suppresses other offers, as ``Consequences`` has them.
    """

    bucket: int
    position: StreamPosition
    decision_id: str
    decided_at_ms: int
    offer_id: str
    offer: int
    outcome: str
    value: float | None
    at_ms: int
    recorded_ms: int
    late: bool
    reward: float | None
    base_propensity: float
    policy: str
    placement: str
    estimate: float = math.nan
    worth: float = math.nan
    facts: Facts = NO_FACTS
    silence_ms: int | None = None
    earned: Earned | None = None
    reason: str | None = None
    causes: tuple[str, ...] = ()

    @property
    def shows(self) -> bool:
        """True if it says that the offer was seen, and leaves open what comes of it: so do all that are declared."""
        return self.outcome not in ("accepted", "rejected", *ENDINGS)

    @property
    def identity(self) -> Identity:
        """The outcome's identity: it counts once, however often it is read."""
        return self.decision_id, self.decided_at_ms, self.offer_id, self.outcome

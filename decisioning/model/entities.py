"""The things of a catalogue. Plain immutable values; times are Unix milliseconds, ends are exclusive."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Strict

FOREVER_MS = 2**62

Goal = Literal["acquire", "grow", "retain", "serve"]
GOALS: tuple[Goal, ...] = ("acquire", "grow", "retain", "serve")
Tier = Literal["eligibility", "applicability", "suitability"]
TIERS: tuple[Tier, ...] = ("eligibility", "applicability", "suitability")
Status = Literal["draft", "scheduled", "live", "paused", "ended"]
NEXT_STATUS: Mapping[Status, frozenset[Status]] = {
    "draft": frozenset({"scheduled", "live", "ended"}),
    "scheduled": frozenset({"live", "paused", "draft", "ended"}),
    "live": frozenset({"scheduled", "paused", "ended"}),
    "paused": frozenset({"live", "scheduled", "ended"}),
    "ended": frozenset(),
}
"""The statuses that may follow each status. Ended is final: only a rollback brings an offer back."""
LegalBasis = Literal["consent", "contract", "legitimate_interest", "legal_obligation"]
ContactKind = Literal["decided", "presented", "clicked", "accepted", "rejected"]
Scope = Literal["offer", "group", "goal", "all"]
Per = Literal["customer", "household"]
Factor = Literal["P", "C", "V", "L"]
TieBreak = Literal["oldest", "newest", "value"]
Scalar = str | float | int | bool


@dataclass(frozen=True, slots=True)
class ContactLimit:
    """At most ``max`` decisions for an offer to one customer within any ``window_s`` seconds."""

    max: int
    window_s: int


@dataclass(frozen=True, slots=True)
class ContactPolicy:
    """A limit on how often a customer may be contacted.

    Counted are contacts of ``outcomes`` in ``channels`` (all if empty) within any ``window_s`` seconds over the same
    ``scope`` as the offer at hand: the same offer, offers of its group or goal, or all offers. When ``max`` is
    reached, what is in scope is suppressed for ``suppress_s`` more seconds (0: until the window has moved on).
    ``applies_to`` names the offer, group or goal that the policy is about; all if ``None``. ``max=1`` makes
    ``window_s`` a minimum gap. ``per="household"``: contacts of all members of the customer's household count together.
    """

    policy_id: str
    name: str
    max: int
    window_s: int
    outcomes: tuple[ContactKind, ...] = ("decided",)
    scope: Scope = "offer"
    channels: tuple[str, ...] = ()
    suppress_s: int = 0
    applies_to: str | None = None
    per: Per = "customer"


@dataclass(frozen=True, slots=True)
class QuietHours:
    """No contact in ``channels`` (all if empty) from ``start`` to ``end`` (``HH:MM``) of the customer's own time.

    The time zone is the customer's attribute ``time_zone``, or ``time_zone`` here.
    """

    quiet_id: str
    start: str
    end: str
    channels: tuple[str, ...] = ()
    time_zone: str = "UTC"


Counts = Literal["decided", "presented", "accepted"]
"""The step of an offer that uses up a unit of capacity."""
DEFAULT_HOLD_S = 900


@dataclass(frozen=True, slots=True)
class Capacity:
    """At most ``max`` units a day or an hour (of ``time_zone``), or in total, by all processes together.

    Counted are offers that match all of ``offer``, ``group``, ``channel`` and ``team`` that are given: when they are
    decided, or only once they are presented or accepted (``counts``; see ``counting``). The last three fields are for
    counting after the fact. A decision holds a unit for ``hold_s`` seconds, unless it is known before what came of it;
    ``overbook``: by how many units at most more may be held than are left, ``None`` for as many as ``max``;
    ``once_per_customer``: what a customer does several times with the same offer in a period counts once.
    ``keep_for_value``: whose offer is worth less than the last units are expected to bring is not offered it.
    """

    capacity_id: str
    name: str
    max: int
    per: Literal["hour", "day", "total"] = "day"
    time_zone: str = "UTC"
    offer: str | None = None
    group: str | None = None
    channel: str | None = None
    team: str | None = None
    counts: Counts | None = None
    hold_s: int = DEFAULT_HOLD_S
    overbook: int | None = None
    once_per_customer: bool = True
    keep_for_value: bool = False

    @property
    def counting(self) -> Counts:
        """Give what is counted: as ``counts`` says, else acceptances for a team, which handles them, else decisions."""
        return self.counts or ("decided" if self.team is None else "accepted")

    @property
    def counts_later(self) -> bool:
        """Return whether a unit is only used up by what comes of a decision."""
        return self.counting != "decided"


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition of an offer. Tiers: may they ever, does it make sense now, is it right for them."""

    name: str
    tier: Tier
    when: str


@dataclass(frozen=True, slots=True)
class NotAfter:
    """Not within ``within_s`` seconds after contacts of ``outcomes`` with another offer, or group."""

    within_s: int
    offer: str | None = None
    group: str | None = None
    outcomes: tuple[ContactKind, ...] = ("accepted",)


@dataclass(frozen=True, slots=True)
class AfterRejection:
    """After a rejection of this offer, related ones are suppressed for ``for_s`` seconds.

    Related are: the offer itself, offers of its group, or offers with the same value of ``attribute``.
    """

    for_s: int
    scope: Literal["offer", "group", "attribute"] = "offer"
    attribute: str | None = None


@dataclass(frozen=True, slots=True)
class ScriptStep:
    """A talking point; it is part of the script when ``when`` holds (always if ``None``)."""

    step_id: str
    text: str
    when: str | None = None


@dataclass(frozen=True, slots=True)
class Objection:
    """An objection that a customer may raise, and the answer to it."""

    objection: str
    answer: str


@dataclass(frozen=True, slots=True)
class Script:
    """A guide for agents who present an offer: ordered steps, and answers to objections."""

    steps: tuple[ScriptStep, ...] = ()
    objections: tuple[Objection, ...] = ()


@dataclass(frozen=True, slots=True)
class Treatment:
    """The presentation of an offer in one channel and language.

    Texts may hold variables such as ``{{ customer.first_name }}``; ``fallbacks`` stand for those without a value.
    ``button`` and ``legal`` are texts too; ``link`` is where the button leads; ``attributes`` are for the front end.
    """

    treatment_id: str
    channel: str
    language: str
    title: str
    message: str
    image: str | None = None
    fallbacks: Mapping[str, str] = field(default_factory=dict)
    script: Script | None = None
    link: str | None = None
    button: str | None = None
    legal: str | None = None
    attributes: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """A family of offers under a goal. ``lever``: percent more (or less) in ``L`` for all of them.

    Its rules, consent and contact limits hold for each of its offers, beside those of the offer.
    """

    group_id: str
    name: str
    goal: Goal
    lever: float = 0.0
    requires_consent: str | None = None
    legal_basis: LegalBasis = "consent"
    contact_limits: tuple[ContactLimit, ...] = ()
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class GoalDemands:
    """A goal: percent more (or less) in ``L`` for all of its offers, and what it demands of each of them."""

    goal: Goal
    # Strict, or true and "5" would be taken for numbers.
    lever: Annotated[float, Strict()] = 0.0
    requires_consent: str | None = None
    legal_basis: LegalBasis = "consent"
    contact_limits: tuple[ContactLimit, ...] = ()
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Demands:
    """Rules, a purpose, and contact limits of an offer. ``source``: the group or goal that they come from.

    ``source`` is ``None`` for the offer's own, else such as ``group cards``.
    """

    source: str | None
    rules: tuple[Rule, ...]
    requires_consent: str | None
    legal_basis: LegalBasis
    contact_limits: tuple[ContactLimit, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that can be proposed.

    ``value`` is what an acceptance is worth; ``value_expression`` computes it in CEL, with ``value`` where it cannot.
    ``mandatory`` offers come first, without arbitration; ``transactional`` ones do not use up contact limits.
    ``requires_consent`` is the purpose. With the legal basis ``consent`` the customer must have agreed to it; with
    another one the customer must not have objected to it in the placement's channel. ``inherited``: what its group and
    goal demand besides; the catalogue fills it in.
    """

    offer_id: str
    number: int
    name: str
    group: str
    value: float
    status: Status = "live"
    starts_ms: int = 0
    ends_ms: int = FOREVER_MS
    requires_consent: str | None = None
    contact_limits: tuple[ContactLimit, ...] = ()
    treatments: tuple[Treatment, ...] = ()
    value_expression: str | None = None
    lever: float = 0.0
    legal_basis: LegalBasis = "consent"
    mandatory: bool = False
    transactional: bool = False
    team: str | None = None
    attributes: Mapping[str, Scalar] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    min_propensity: float = 0.0
    not_with: tuple[str, ...] = ()
    not_after: tuple[NotAfter, ...] = ()
    after_rejection: tuple[AfterRejection, ...] = ()
    inherited: tuple[Demands, ...] = ()

    @property
    def demands(self) -> tuple[Demands, ...]:
        """All that is demanded: its own first, then what is inherited."""
        return (demands_of(self, None), *self.inherited)


def demands_of(thing: Offer | Group | GoalDemands, source: str | None) -> Demands:
    """Return what an offer, a group or a goal itself demands."""
    return Demands(source, thing.rules, thing.requires_consent, thing.legal_basis, thing.contact_limits)


def inherit(offer: Offer, group: Group, goal: GoalDemands | None) -> Offer:
    """Return the offer with what its group and goal demand, if they demand anything."""
    sources = [demands_of(group, f"group {group.group_id}")]
    sources += [] if goal is None else [demands_of(goal, f"goal {goal.goal}")]
    found = tuple(d for d in sources if d.rules or d.requires_consent is not None or d.contact_limits)
    return offer if found == offer.inherited else replace(offer, inherited=found)


@dataclass(frozen=True, slots=True)
class Placement:
    """A place that asks.

    ``presentation``: ``implicit`` when being in the answer means being seen (a web page), ``explicit`` when the caller
    confirms it (an agent reads it out). ``without_history``: what happens to offers with contact limits while
    the contact history cannot be read. ``confirm_within_s``: an explicit placement that has not confirmed the
    presentation by then gives back what was reserved. ``off``: factors of the score that are switched off.
    ``when``: nothing is offered unless this holds. ``max_per_group``: at most so many offers of a group in one answer.
    ``fill_with_defaults``: default offers follow where fewer offers were chosen than there are slots.
    ``log_facts``: facts that are logged with each decision, though no policy learns from them yet.
    """

    placement_id: str
    channel: str
    slots: int = 1
    default_offers: tuple[str, ...] = ()
    deadline_ms: int = 100
    presentation: Literal["implicit", "explicit"] = "implicit"
    reward_window_s: int = 7 * 86_400
    policy: str = "calibrated"
    fallback_policy: str = "propensity"
    control_policy: str = "random"
    control_share: float = 0.1
    experiment_salt: str = ""
    without_history: Literal["withhold", "allow"] = "withhold"
    confirm_within_s: int = 900
    off: tuple[Factor, ...] = ()
    when: str | None = None
    min_propensity: float = 0.0
    max_per_group: int | None = None
    tie_break: TieBreak = "oldest"
    fill_with_defaults: bool = False
    log_facts: tuple[str, ...] = ()


def percent(*levers: float) -> float:
    """Add up weights in percent and normalise them once: ``1 + sum / 100``, never below 0."""
    return max(1.0 + sum(levers) / 100.0, 0.0)


def effective_status(offer: Offer, now_ms: int) -> Status:
    """Return the status at ``now_ms``: scheduled before the start, ended after the end, live in between."""
    if offer.status in ("draft", "ended"):
        return offer.status
    # Before the pause: an offer whose end has passed would not be live again if it were resumed.
    if offer.ends_ms <= now_ms:
        return "ended"
    if offer.status == "paused":
        return "paused"
    return "scheduled" if now_ms < offer.starts_ms else "live"

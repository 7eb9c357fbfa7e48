"""Decisions as they are logged: typed values whose JSON form is part of the log's format.

Fields have the names and the order of the JSON; where a better name was found for one, ``msgspec.field`` tells the
old one. A field whose default is ``None`` is left out of the JSON while it has that value: earlier versions did not log
it, or it does not apply to the decision. Fields that are not known here are skipped, as a later version may add some.
"""

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bandits.policy import Facts, FloatArray, IntArray, PolicyKey
from decisioning.model.outcome import Identity, Outcome
from decisioning.model.position import StreamPosition

RUNTIME = f"python {platform.python_version()} numpy {np.__version__}"
"""The versions of what computes decisions here; with others, a replay may differ in the last bits."""


class LoggedPolicy(msgspec.Struct, frozen=True, dict=True):
    """A policy as answers name it."""

    name: str
    version: int

    @classmethod
    def of(cls, policy: str) -> "LoggedPolicy":
        """Split ``name@version``."""
        key = PolicyKey(policy)
        return cls(key.name, key.version)

    @cached_property
    def key(self) -> PolicyKey:
        """``name@version``."""
        return PolicyKey.of(self.name, self.version)


class RenderedStep(msgspec.Struct, frozen=True, gc=False):
    """A step of a script, as it is said."""

    step_id: str
    text: str


class RenderedObjection(msgspec.Struct, frozen=True, gc=False):
    """An objection and the answer to it, as they are said."""

    objection: str
    answer: str


class RenderedScript(msgspec.Struct, frozen=True, gc=False):
    """A script for an agent, with the steps that apply."""

    steps: tuple[RenderedStep, ...]
    objections: tuple[RenderedObjection, ...]


class RenderedTreatment(msgspec.Struct, frozen=True, gc=False):
    """A treatment with its variables filled in."""

    treatment_id: str
    channel: str
    language: str
    title: str
    message: str
    image: str | None = None
    script: RenderedScript | None = None
    # Left out where there is none, as in records of earlier versions.
    link: str | msgspec.UnsetType = msgspec.UNSET
    button: str | msgspec.UnsetType = msgspec.UNSET
    legal: str | msgspec.UnsetType = msgspec.UNSET
    attributes: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class LoggedFactors(msgspec.Struct, frozen=True, gc=False):
    """The four factors of a score; one that is switched off is 1."""

    P: float = 1.0
    C: float = 1.0
    V: float = 1.0
    L: float = 1.0


class DecidedOffer(msgspec.Struct, frozen=True, gc=False):
    """An offer in its slot. Score, factors and probability are ``None`` where no policy selected it."""

    offer_id: str
    rank: int
    score: float | None = None
    factors: LoggedFactors | None = None
    probability: float | None = None
    treatment: RenderedTreatment | None = None


class OfferContact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The group and goal of a decided offer, and whether limits count it."""

    group: str = ""
    goal: str = ""
    counts: bool = True


class DecisionContacts(msgspec.Struct, frozen=True, gc=False):
    """Facts that the history of contacts is rebuilt from.

    ``keep_ms``: how long contacts matter. ``confirm_until_ms``: when reservations are given back if nobody says that
    the offers were presented, ``None`` if they are not. ``offers``: in the order of the decision's.
    """

    keep_ms: int
    confirm_until_ms: int | None
    offers: tuple[OfferContact, ...]


class Contact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One earlier contact: the offer's number, group and goal then, the time (Unix ms), the letter of its kind."""

    offer: int
    at_ms: int
    group: str = ""
    goal: str = ""
    kind: str = "d"
    channel: str = ""


class SnapshotSuppression(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An entry of a suppression list that the decision looked at; see ``profiles.customer.Suppression``."""

    list_id: str
    reason: str
    until_ms: int | None
    added_ms: int
    scope: dict[str, tuple[str, ...]] | None = None


class LoggedSignal(msgspec.Struct, frozen=True, gc=False):
    """A signal on account of which offers were suppressed. ``name``: of its reason, for people.

    ``until_ms``: the time until which it lasts; ``None`` if that is only while it holds.
    """

    signal: str
    reason: str
    name: str
    until_ms: int | None = None


class SnapshotWithheld(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An offer that was worth less than a unit of its capacity; see ``decisioning.model.selection.Withheld``."""

    number: int
    propensity: float
    value: float
    price: float
    capacity_id: str


class CustomerSnapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The part of the profile and of the contacts that the placement looked at, kept to explain the decision later.

    ``interests`` and ``holdings`` are ``None`` if no rule looks at them; ``history`` and ``suppressions`` if they could
    not be read. ``exhausted``: numbers of offers without capacity. ``unlikely``: number and propensity of offers below
    their minimum, which are not among the logged candidates; nor are those ``withheld`` for more valuable customers.
    ``events`` and ``interests_told``: what events told, by aggregate and concept, as far as rules looked.
    ``household``: contacts of the customer's household that limits look at; ``None`` if they could not be read.
    """

    known: bool | None = None
    attributes: dict[str, Any] = {}
    indicators: dict[str, float] = {}
    interests: dict[str, float] | None = None
    holdings: tuple[str, ...] | None = None
    consents: dict[str, tuple[str, ...]] = {}
    history: tuple[Contact, ...] | None = ()
    suppressions: tuple[SnapshotSuppression, ...] | None = ()
    exhausted: tuple[int, ...] = ()
    unlikely: tuple[tuple[int, float], ...] = ()
    withheld: tuple[SnapshotWithheld, ...] = ()
    events: dict[str, str | float | int | bool] = {}
    interests_told: dict[str, float] = {}
    household: tuple[Contact, ...] | None = ()


class Overrun(msgspec.Struct, frozen=True, gc=False):
    """The time by which a policy exceeded its budget; ``in_a_row``: so many times by now, in one process."""

    took_ms: float
    budget_ms: float
    in_a_row: int


class PolicyFailure(msgspec.Struct, frozen=True, gc=False):
    """The policy (``name@version``) that should have decided, and the reason why it did not."""

    policy: str
    reason: str


class CapacityUnit(msgspec.Struct, frozen=True, gc=False):
    """A unit of capacity that an offer of the decision uses up, and the lease that it was taken from."""

    capacity_id: str
    period: str
    holder: str
    offer_id: str


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One answer with everything needed to explain and replay it. Times are Unix milliseconds.

    ``numbers`` and ``expected``: number and expected propensity of each of ``offers``. ``default_offers``: what was
    answered behind ``offers``: when nothing was right, or to fill the slots. ``scored_by`` and ``caller_choice``
    (numbers): where the caller's own choice was answered. ``epoch``: of the policy's arms. ``logged_group``: see
    ``group``. ``source``: ``live`` or ``history``. ``units``: where each slot was drawn with regard to the limits
    that earlier ones use up, the capacities with fewer units than slots (the units, and the numbers of their
    offers); ``None`` where it was not. ``redraws``: how often others were faster, so that it was selected anew.
    ``counts_silence``: that nothing came of an offer is learned as soon as it was shown, until something comes;
    earlier versions learned it when the window closed. ``runtime``: the versions that it was computed with, as in
    ``RUNTIME``. ``signals``: those that suppressed offers here. ``noted``: ids of those that held and last, here or
    elsewhere: they are remembered for the customer. ``erased``: the customer was erased since; ``customer_id`` is a
    pseudonym, and only what a replay needs is left of what was known. ``holdouts``: ids of the hold-outs that the
    customer was in; ``None`` if in none. ``household``: in whose history the contacts are counted as well, if any.
    """

    decision_id: str
    customer_id: str
    placement: str
    channel: str | None
    presentation: str
    policy: LoggedPolicy
    control: bool
    logged_group: str | None = msgspec.field(default=None, name="group")
    catalog_version: int
    epoch: int
    decided_at_ms: int
    until_ms: int
    context: dict[str, Any]
    limit: int | None
    slots: int
    offers: tuple[DecidedOffer, ...]
    numbers: tuple[int, ...]
    expected: tuple[float, ...] | None = None
    facts: Facts | None = None
    nothing_right_now: bool | None = None
    segments: tuple[str, ...] | None = None
    degraded: tuple[str, ...]
    feedback_until: str | None
    source: str
    contacts: DecisionContacts | None = msgspec.field(default=None, name="contact")
    customer_snapshot: CustomerSnapshot | None = msgspec.field(default=None, name="seen")
    scored_by: LoggedPolicy | None = None
    caller_choice: tuple[int, ...] | None = msgspec.field(default=None, name="wanted")
    overrun: Overrun | None = msgspec.field(default=None, name="over_budget")
    failure: PolicyFailure | None = msgspec.field(default=None, name="failed")
    default_offers: tuple[DecidedOffer, ...] | None = msgspec.field(default=None, name="defaults")
    capacity: tuple[CapacityUnit, ...] | None = None
    units: tuple[tuple[int, tuple[int, ...]], ...] | None = None
    redraws: int = 0
    counts_silence: bool = False
    runtime: str | None = None
    signals: tuple[LoggedSignal, ...] = ()
    noted: tuple[str, ...] = ()
    erased: bool = False
    holdouts: tuple[str, ...] | None = None
    household: str | None = None

    @property
    def group(self) -> str:
        """The group that it was made for, also where it was logged before there were several."""
        if self.logged_group is not None:
            return self.logged_group
        if self.source == "history":
            return "imported"
        return "control" if self.control else "champion"

    @property
    def scorer(self) -> PolicyKey:
        """The policy that scored it, also where the caller's own choice was answered."""
        return (self.scored_by or self.policy).key

    @property
    def identity(self) -> Identity:
        """Its identity wherever in the log it stands."""
        return self.decision_id, self.decided_at_ms, None, None

    def offer_contacts(self) -> tuple[OfferContact, ...]:
        """Group and goal of each offer, and whether limits count it. Early records do not tell the first two."""
        return (OfferContact(),) * len(self.offers) if self.contacts is None else self.contacts.offers

    def is_taken_back(self, outcomes: Iterable[Outcome]) -> bool:
        """Return whether it was withdrawn, because the answer could not be delivered. ``outcomes``: those of its id.

        The time is compared as well: a caller's own id may name a later decision, after one that was withdrawn.
        """
        return any(o.outcome == "withdrawn" and o.decided_at_ms == self.decided_at_ms for o in outcomes)


@dataclass(frozen=True, slots=True)
class LoggedDecision:
    """A decision with its candidates, at ``position`` in the stream of ``bucket``.

    ``candidates`` (numbers) and ``base_propensities`` (NaN where there is none) have shape ``(m,)``; ``factors``,
    their ``C`` then their ``V``, shape ``(2, m)``, ``None`` if the catalogue tells them. ``encoded``: the JSON that the
    decision was read from, which may say more than this version knows; empty for one that was not read.
    """

    bucket: int
    position: StreamPosition
    decision: Decision
    candidates: IntArray
    base_propensities: NDArray[np.float32]
    factors: FloatArray | None = None
    encoded: bytes = b""

    @property
    def decision_id(self) -> str:
        """The decision's id."""
        return self.decision.decision_id

    def base_propensity(self, number: int) -> float:
        """Return the precomputed propensity of a candidate. Raises ``KeyError`` if it is none."""
        row = (self.candidates == number).argmax() if len(self.candidates) else 0
        if not len(self.candidates) or self.candidates[row] != number:
            raise KeyError(number)
        return float(self.base_propensities[row])

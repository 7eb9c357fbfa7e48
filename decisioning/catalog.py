"""The catalogue: what can be offered, how, and where. Immutable; a change builds the next one beside it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bandits.policy import BoolArray, FloatArray, IntArray
from decisioning.errors import Invalid, NotFound

FOREVER_MS = 2**62

Goal = Literal["acquire", "grow", "retain", "serve"]


@dataclass(frozen=True, slots=True)
class ContactLimit:
    """At most ``max`` decisions for an offer to one customer within any ``window_s`` seconds."""

    max: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Treatment:
    """How an offer is put in one channel and language."""

    treatment_id: str
    channel: str
    language: str
    title: str
    message: str
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A family of offers under a goal."""

    group_id: str
    name: str
    goal: Goal


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that can be proposed. Times are Unix milliseconds, the end is exclusive."""

    offer_id: str
    number: int
    name: str
    group: str
    value: float
    status: Literal["live", "paused"] = "live"
    starts_ms: int = 0
    ends_ms: int = FOREVER_MS
    requires_consent: str | None = None
    contact_limits: tuple[ContactLimit, ...] = ()
    treatments: tuple[Treatment, ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """A place that asks.

    ``presentation``: ``implicit`` when being in the answer means being seen (a web page), ``explicit`` when the caller
    confirms it (an agent reads it out). ``without_history``: what happens to offers with contact limits while
    the contact history cannot be read.
    """

    placement_id: str
    channel: str
    slots: int = 1
    default_offers: tuple[str, ...] = ()
    deadline_ms: int = 100
    presentation: Literal["implicit", "explicit"] = "implicit"
    reward_window_s: int = 7 * 86_400
    policy: str = "thompson"
    fallback_policy: str = "propensity"
    control_policy: str = "random"
    control_share: float = 0.1
    experiment_salt: str = ""
    without_history: Literal["withhold", "allow"] = "withhold"


@dataclass(frozen=True, slots=True)
class PlacementView:
    """A placement with the offers that may appear in it, as parallel arrays of length ``n`` ordered by number.

    ``starts_ms`` and ``ends_ms``: int64. ``consents``: for each purpose, the rows that need it.
    ``limited``: rows with contact limits. ``history_ms``: the longest contact window of the whole catalogue.
    """

    placement: Placement
    offers: tuple[Offer, ...]
    numbers: IntArray
    value: FloatArray
    starts_ms: NDArray[np.int64]
    ends_ms: NDArray[np.int64]
    always: BoolArray = field(repr=False)
    consents: Mapping[str, BoolArray]
    limited: tuple[int, ...]
    history_ms: int

    def live(self, now_ms: int) -> BoolArray:
        """Which offers are inside their dates at ``now_ms``: shape ``(n,)``, a fresh array."""
        live: BoolArray = self.always | ((self.starts_ms <= now_ms) & (now_ms < self.ends_ms))
        return live


@dataclass(frozen=True)
class Catalogue:
    """Everything that is published, at one version."""

    version: int
    groups: Mapping[str, Group] = field(default_factory=dict)
    offers: Mapping[str, Offer] = field(default_factory=dict)
    placements: Mapping[str, Placement] = field(default_factory=dict)
    views: Mapping[str, PlacementView] = field(init=False, repr=False)
    numbers: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        views = {
            p.placement_id: _view(p, self.offers.values(), self.history_ms) for p in self.placements.values()
        }
        object.__setattr__(self, "views", MappingProxyType(views))
        object.__setattr__(
            self, "numbers", MappingProxyType({o.offer_id: o.number for o in self.offers.values()})
        )

    @property
    def history_ms(self) -> int:
        """The longest contact window of all offers, in ms; 0 if none has a contact limit."""
        return max((w.window_s * 1000 for o in self.offers.values() for w in o.contact_limits), default=0)

    def view(self, placement_id: str) -> PlacementView:
        """The placement and its offers.

        Raises
        ------
        NotFound
            If there is no such placement.
        """
        try:
            return self.views[placement_id]
        except KeyError:
            raise NotFound("placement", placement_id) from None

    def check(self) -> None:
        """Raise ``Invalid`` for the first reference that leads nowhere."""
        for offer in self.offers.values():
            if offer.group not in self.groups:
                raise Invalid(
                    "group", f"there is no group {offer.group!r}; create it with PUT /v1/groups/{offer.group}"
                )
        for placement in self.placements.values():
            for offer_id in placement.default_offers:
                if offer_id not in self.offers:
                    raise Invalid("default_offers", f"there is no offer {offer_id!r}")


def treatment_for(offer: Offer, channel: str, language: str | None) -> Treatment:
    """The offer's treatment for a channel, in ``language`` if there is one, else the first by id."""
    treatments = [t for t in offer.treatments if t.channel == channel]
    return next((t for t in treatments if t.language == language), treatments[0])


def _view(placement: Placement, offers: Iterable[Offer], history_ms: int) -> PlacementView:
    channel = placement.channel
    here = sorted(
        (o for o in offers if o.status == "live" and any(t.channel == channel for t in o.treatments)),
        key=lambda o: o.number,
    )
    purposes = sorted({o.requires_consent for o in here if o.requires_consent is not None})
    starts = np.array([o.starts_ms for o in here], dtype=np.int64)
    ends = np.array([o.ends_ms for o in here], dtype=np.int64)
    return PlacementView(
        placement=placement,
        offers=tuple(here),
        numbers=np.array([o.number for o in here], dtype=np.uint32),
        value=np.array([o.value for o in here], dtype=np.float64),
        starts_ms=starts,
        ends_ms=ends,
        always=(starts == 0) & (ends == FOREVER_MS),
        consents=MappingProxyType({p: np.array([o.requires_consent == p for o in here]) for p in purposes}),
        limited=tuple(row for row, o in enumerate(here) if o.contact_limits),
        history_ms=history_ms,
    )

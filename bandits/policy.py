"""The protocol that every policy follows, and the values it exchanges with the rest of the system.

A learner has two verbs: it *chooses*, and it *learns*. Choosing is split into three pure steps, so that the
expensive one runs only when arms change: ``prepare`` (arms -> something ready to choose with),
``propensities`` (what each candidate is expected to do), ``selector`` (the exact chance of each).
Learning maps one observation to a vector that is *added* to the state of its arm. Forgetting is ``ForwardDecay``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from bandits.errors import PolicyParameterError
from bandits.exact_math import exp2_of
from bandits.features import Encoder, Feature

PERIOD_HALF_LIVES = 8
PERIODS_KEPT = 4
TICKS_PER_HALF_LIFE = 32
QUANTUM = 2.0**-20
MIN_HALF_LIFE_S = 1e-3
"""A shorter half-life would make the number of a period, or of a tick, too large for exact differences."""


@dataclass(frozen=True, slots=True)
class ForwardDecay:
    """Forgetting that keeps sums additive, with a half-life in seconds; ``None`` never forgets.

    Instead of shrinking old sums, new observations weigh more: an observation at time ``t`` has the weight
    ``2 ** ((t - landmark) / half_life)``, and sums are divided by the weight of the present when they are read
    (Cormode, Shkapenyuk, Srivastava and Xu, *Forward Decay*, ICDE 2009). So decayed sums of different buckets,
    processes and batches can be added in any order.

    Two things keep this exact for ever. Landmarks are moved by *periods* of ``PERIOD_HALF_LIVES`` half-lives fixed in
    absolute time: sums of different periods are kept apart, so weights stay between 1 and 256, and a period that began
    more than ``PERIODS_KEPT`` periods ago counts as nothing. And every contribution is rounded to a multiple of
    ``2 ** -20``: sums of such numbers below ``2 ** 33`` are exact in float64, hence independent of the order of
    addition, bit for bit; larger ones are kept in two parts (``bandits.state``), and so are exact for ever.

    Raises
    ------
    PolicyParameterError
        If the half-life is shorter than a millisecond, or not finite.
    """

    half_life_s: float | None

    def __post_init__(self) -> None:
        if self.half_life_s is not None and not (MIN_HALF_LIFE_S <= self.half_life_s < math.inf):
            raise PolicyParameterError(
                f"half_life_s must be positive, not {self.half_life_s}; null never forgets"
            )

    def period(self, t_s: float) -> int:
        """Return the number of the landmark period that the time ``t_s`` (Unix seconds) belongs to."""
        if self.half_life_s is None:
            return 0
        return math.floor(t_s / (PERIOD_HALF_LIVES * self.half_life_s))

    def tick(self, now_s: float) -> int:
        """Return the time step at which states are normalised: 32 a half-life, so that reading is reproducible."""
        if self.half_life_s is None:
            return 0
        return math.floor(now_s / self.half_life_s * TICKS_PER_HALF_LIFE)

    def tick_ends_ms(self, tick: int) -> float:
        """Return the first Unix ms of the time step behind ``tick``."""
        if self.half_life_s is None:
            return math.inf
        ends_ms = math.ceil((tick + 1) / TICKS_PER_HALF_LIFE * self.half_life_s * 1000.0)
        # To the millisecond as ``tick`` rounds, so that both are one rule.
        while self.tick(ends_ms / 1000.0) <= tick:
            ends_ms += 1
        while self.tick((ends_ms - 1) / 1000.0) > tick:
            ends_ms -= 1
        return ends_ms

    def weight(self, t_s: float) -> float:
        """Return the weight of an observation at ``t_s`` (not before 1970), relative to its period's landmark: in [1,
        256).
        """
        if self.half_life_s is None:
            return 1.0
        half_lives = t_s / self.half_life_s  # rounded as in `period`: the difference below is exact
        return exp2_of(half_lives - self.period(t_s) * PERIOD_HALF_LIVES)

    def scale(self, period: int, tick: int) -> float:
        """Return the factor of a sum of ``period`` when it is read at ``tick``; 0 once it is forgotten.

        A period that has not begun (a clock elsewhere is ahead) is read as if it began now: a time that
        is wrong must not make one observation outweigh all others.
        """
        return 1.0 if self.half_life_s is None else _scale(period, tick)


@lru_cache(maxsize=1024)
def _scale(period: int, tick: int) -> float:
    half_lives = tick / TICKS_PER_HALF_LIFE - period * PERIOD_HALF_LIVES
    if half_lives > PERIOD_HALF_LIVES * PERIODS_KEPT:  # at most 2 ** -24 of it would be left
        return 0.0
    return exp2_of(-max(half_lives, 0.0))


def quantise(contribution: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to multiples of ``QUANTUM``, so that sums are exact and free of order. Zero is never negative."""
    rounded = contribution / QUANTUM
    np.rint(rounded, out=rounded)
    rounded *= QUANTUM
    rounded += 0.0  # -0.0 + 0.0 is 0.0: two zeros would be stored as different bytes
    return rounded


FloatArray = NDArray[np.float64]
IntArray = NDArray[np.uint32]
BoolArray = NDArray[np.bool_]
Distribution = Callable[[BoolArray], FloatArray]
Facts = Mapping[str, Any]
"""Facts that are known of a request, by path (``customer.age``), as it is logged with the decision."""

LearnFrom = Literal["acceptance", "value", "earned"]

NO_FEATURES: FloatArray = np.zeros(0)
NO_FACTS: Facts = MappingProxyType({})
SHARED = 0
"""The number of the arm that holds the sums over all offers; no offer has it."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The offers that are left to choose from, as parallel arrays of length ``n``, and the request that asks.

    ``offers``: the offers' numbers, never 0. ``base_propensity``: this customer's precomputed propensities, NaN where
    there is none. ``weight``: everything that multiplies the propensity in the score (``C x V x L``), never negative.
    ``x``: the request's features as the policy's encoder gives them, shape ``(d,)``; ``facts``: what they were
    encoded from, by path.
    """

    offers: IntArray
    base_propensity: NDArray[np.float32]
    weight: FloatArray
    x: FloatArray = field(default_factory=lambda: NO_FEATURES)
    facts: Facts = field(default_factory=lambda: NO_FACTS)

    def __len__(self) -> int:
        return len(self.offers)


@dataclass(frozen=True, slots=True)
class Observation:
    """One outcome to learn from: reward in [0, 1], and what was known when the offer was chosen.

    ``base_propensity`` is the precomputed propensity that the decision used, NaN where there was none; ``estimate``
    is what the deciding policy expected of this offer, NaN if that is not known. ``x`` and ``facts``: as in
    ``Candidates``, encoded from the facts as they were logged. ``by_caller``: the offer was the caller's own choice,
    no policy's. ``provisional``: a reward of 0 since nothing has come of the offer yet, though it still may.
    """

    offer: int
    reward: float
    base_propensity: float
    x: FloatArray = field(default_factory=lambda: NO_FEATURES)
    estimate: float = float("nan")
    facts: Facts = field(default_factory=lambda: NO_FACTS)
    by_caller: bool = False
    provisional: bool = False


@dataclass(frozen=True, slots=True)
class GroupSums:
    """The sums of groups of offers, decayed to the present: of all their offers that were ever observed.

    ``sums``: shape ``(g, width)``. ``row``: where each offer's group is among them, shape ``(n,)``; -1 for an offer
    without a group.
    """

    sums: FloatArray
    row: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of offers' arms, decayed to the present.

    ``offers``: their numbers, shape ``(n,)``. ``own``: the sums of their arms, shape ``(n, width)``. ``shared``:
    the sums over all offers that were ever observed, shape ``(width,)``; zeros if the policy does not share.
    ``pooled``: the evidence of the arms of all offers that were ever observed; 0 if the policy pools none.
    ``evidence``: that of each offer's own arm, shape ``(n,)``; ``None`` if the policy does not ask for it.
    ``by_group``: the sums of offers' groups; ``None`` if the policy does not use them, or there are none.
    """

    offers: IntArray
    own: FloatArray
    shared: FloatArray
    pooled: float = field(default=0.0, kw_only=True)
    evidence: FloatArray | None = field(default=None, kw_only=True)
    by_group: GroupSums | None = field(default=None, kw_only=True)


class EvidencePool(Protocol):
    """Statements of arms that are added up over all offers ever observed (``Sums.pooled``), candidates or not.

    A policy that pools has it as its attribute ``pool``. What an arm says depends on its own sums, and on ``context``.
    ``by_offer``: the policy asks for what each offer's arm says as well (``Sums.evidence``).
    """

    by_offer: bool

    def context(self, shared: FloatArray, before: Any) -> Any:
        """Return what else it depends on: ``before`` itself, an earlier one or ``None``, if that is still the same."""
        ...

    def evidence(self, own: FloatArray, context: Any) -> FloatArray:
        """Return what arms say, of sums of shape ``(m, width)``: shape ``(m,)``, multiples of the quantum."""
        ...


class Policy(Protocol):
    """A named, versioned way to turn candidates into propensities and a choice, and to learn from outcomes.

    ``width`` is the number of float64 in the state of one arm (0: nothing is learned). With ``shared``, all that an arm
    learns is also added to one arm for all offers. A policy with a true attribute ``by_group`` is told the sums of
    offers' groups as well. One with an attribute ``propensity_source`` is told that source's propensities in the place
    of the precomputed ones. ``encoder`` makes features of facts. ``epsilon`` is the share of
    choices that is spread evenly over what is available: each available candidate keeps at least
    ``epsilon / n`` (0: no exploration is promised, so others cannot be evaluated on what it logs). Implementations
    are pure: no clock, no global randomness, nothing remembered between calls. ``bandits.conformance.checks`` holds
    the laws.
    """

    name: str
    version: int
    width: int
    shared: bool
    epsilon: float
    decay: ForwardDecay
    encoder: Encoder

    def learn(self, observation: Observation) -> FloatArray:
        """Return what to add to the arm's state, shape ``(width,)``, before the weight of decay."""
        ...

    def prepare(self, sums: Sums) -> Any:
        """Make arms ready to choose with."""
        ...

    def refresh(self, prepared: Any, sums: Sums, rows: NDArray[np.intp]) -> Any:
        """Return what ``prepare(sums)`` would, given that only ``rows`` and the shared sums changed since ``prepared``.

        Only ``rows`` of ``sums.own`` are filled; the others hold nothing. ``prepared`` may be changed in place.
        """
        ...

    def propensities(self, prepared: Any, candidates: Candidates) -> FloatArray:
        """Return the estimated probability that each candidate is accepted: shape ``(n,)``, in [0, 1].

        An offer's estimate does not depend on the other candidates.
        """
        ...

    def selector(self, prepared: Any, candidates: Candidates) -> Distribution:
        """Return the distribution that a slot is drawn from, as a function of what is still available.

        The function returns shape ``(n,)``: it sums to one over ``available`` (at least one is) and is exactly
        zero elsewhere. Masking a candidate equals leaving it out.
        """
        ...


class PolicyKey(str):
    """A policy and its version as ``name@version``: a string, so that it can be a key in Redis, SQL and JSON."""

    __slots__ = ()

    @classmethod
    def of(cls, name: str, version: int) -> Self:
        """Make the key of a version of a policy."""
        return cls(f"{name}@{version}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a key. Raises ``ValueError`` if the text is not ``name@version``."""
        name, _, version = text.rpartition("@")
        if not name or not (version.isascii() and version.isdigit()):
            raise ValueError(f"{text!r} is not name@version")
        return cls(text)

    @property
    def name(self) -> str:
        """The policy's name."""
        return self.rpartition("@")[0]

    @property
    def version(self) -> int:
        """The policy's version."""
        return int(self.rpartition("@")[2])


@dataclass(frozen=True, slots=True)
class PropensitySource:
    """A model file whose propensities stand in the place of precomputed ones: that of ``policy``, as registered.

    ``parameters``, ``features``: that policy's own.
    """

    policy: str
    parameters: Mapping[str, Any]
    features: tuple[Feature, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """The specification of a policy under a name and version. Immutable once live.

    ``learn_from``: acceptance, the value of acceptances as a share of ``value_scale``, or what outcomes earn, from
    ``-loss_scale`` (0) to ``value_scale`` (1). ``reward_window_s``: an
    answer that took longer counts as none (``None``: the placement's window alone). ``placements``: where to learn
    from (all if empty). ``learn_since_ms``: outcomes of decisions before that time (Unix ms) do not teach. ``auto``:
    the features were chosen by the rule of ``bandits.auto_features`` when the version was made; they stay as they are.
    ``propensity_source``: what is asked for propensities in the place of the precomputed ones.
    """

    name: str
    version: int
    algorithm: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    features: tuple[Feature, ...] = ()
    learn_from: LearnFrom = "acceptance"
    value_scale: float = 1.0
    reward_window_s: int | None = None
    placements: tuple[str, ...] = ()
    learn_since_ms: int = 0
    description: str = ""
    auto: bool = False
    propensity_source: PropensitySource | None = None
    loss_scale: float = 0.0

    @property
    def learns_worth(self) -> bool:
        """True if what the policy expects is worth, not acceptance: a share of ``worth_scale``."""
        return self.learn_from != "acceptance"

    @property
    def worth_scale(self) -> float:
        """The worth that an expectation of 1 is above one of 0."""
        return self.value_scale + self.loss_scale

    def reward_of(self, earned: float) -> float:
        """Return the reward, in [0, 1], that something earned is: what lies outside of the scale counts as its end."""
        return min(max((earned + self.loss_scale) / self.worth_scale, 0.0), 1.0)

    @property
    def key(self) -> PolicyKey:
        """``name@version``, as it is written in logs and keys."""
        return PolicyKey.of(self.name, self.version)

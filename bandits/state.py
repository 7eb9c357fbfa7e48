"""Arms as they are stored: named sums, their codec, and the table that policies read from.

A field is ``<offer number>:<period>``, with the number 0 for the sums over all offers; its value is a little-endian
float64 vector. Everything here is a sum, so a table can be built from deltas in any order, and two tables of disjoint
logs merge by adding them.

A state with high parts (``bandits.sums``) is an array ``[low, high]`` of shape ``(2, width)`` and stored as both
vectors and the number ``2 ** 32``. Which parts there are follows from the sum alone, so equal sums have equal bytes.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.errors import StateCodecError
from bandits.policy import (
    PERIOD_HALF_LIVES,
    SHARED,
    EvidencePool,
    FloatArray,
    ForwardDecay,
    IntArray,
    Observation,
    Policy,
    Sums,
    quantise,
)
from bandits.sums import HIGH_STEP, GroupTotals, OfferGroups, add_exactly, total_of

_STEP_BYTES = np.array([HIGH_STEP], dtype="<f8").tobytes()


def encode_state(state: FloatArray) -> bytes:
    """Encode one arm's sums as little-endian float64, nothing else (the width belongs to the policy)."""
    encoded = state.astype("<f8").tobytes()
    return encoded if state.ndim == 1 else encoded + _STEP_BYTES


def decode_state(blob: bytes, width: int) -> FloatArray:
    """Decode one arm's sums: shape ``(width,)``, or ``(2, width)`` if they have high parts.

    Raises ``StateCodecError`` unless the blob holds exactly so many numbers.
    """
    if len(blob) == 8 * (2 * width + 1) and blob.endswith(_STEP_BYTES):
        return np.frombuffer(blob[:-8], dtype="<f8").astype(np.float64).reshape(2, width)
    if len(blob) != 8 * width:
        raise StateCodecError(f"an arm of width {width} takes {8 * width} bytes, not {len(blob)}")
    return np.frombuffer(blob, dtype="<f8").astype(np.float64)


LearnAll = Callable[[Sequence[Observation]], FloatArray]
"""``learn`` of many observations at once: shape ``(m, width)``."""


def arm_contributions(
    policy: Policy, observation: Observation, at_s: float
) -> tuple[tuple[str, ...], FloatArray]:
    """Return the fields that ``observation``, made at ``at_s`` (Unix seconds), changes, and the amount to add."""
    # Rounded after weighing: what is added up must be a multiple of the quantum, or folds would not commute.
    delta = quantise(policy.learn(observation) * policy.decay.weight(at_s))
    period = policy.decay.period(at_s)
    own = f"{observation.offer}:{period}"
    return ((own, f"{SHARED}:{period}") if policy.shared else (own,)), delta


def _parse_field(field: str) -> tuple[int, int]:
    offer, _, period = field.partition(":")
    try:
        return int(offer), int(period)
    except ValueError:
        raise StateCodecError(f"a field of arms is <offer number>:<period>, not {field!r}") from None


def is_forgotten(field: str, decay: ForwardDecay, now_s: float) -> bool:
    """Return whether the sums of a field count as nothing, a whole period from now on as well (Unix seconds)."""
    if decay.half_life_s is None:
        return False
    before_s = now_s - PERIOD_HALF_LIVES * decay.half_life_s  # whose clock is behind still reads them
    return decay.scale(_parse_field(field)[1], decay.tick(before_s)) == 0.0


@dataclass(slots=True)
class _Pooled:
    """The last statement of each arm of one policy at one time step."""

    policy: Policy
    tick: int
    context: Any
    values: dict[int, float]


class ArmTable:
    """The sums of all arms of one policy, in memory.

    ``epoch`` counts the folds that led here; the same epoch means the same sums, bit for bit.
    """

    __slots__ = ("_by_offer", "_changed", "_grouped", "_pooled", "epoch", "width")

    def __init__(self, width: int, epoch: int = 0) -> None:
        self.width = width
        self.epoch = epoch
        self._by_offer: dict[int, dict[int, FloatArray]] = {}
        self._changed: set[int] = set()
        self._pooled: _Pooled | None = None
        self._grouped: GroupTotals | None = None

    def add(self, field: str, delta: FloatArray) -> None:
        """Add to one field's sums.

        Raises ``StateCodecError`` if the field has no known form, or ``delta`` is not of shape ``(width,)``.
        """
        offer, period = _parse_field(field)
        if delta.shape != (self.width,):
            raise StateCodecError(f"an arm of width {self.width} cannot take a change of shape {delta.shape}")
        periods = self._by_offer.setdefault(offer, {})
        old = periods.get(period)
        # Never in place: the caller keeps ``delta``, and others may hold the old array.
        periods[period] = add_exactly(old, delta)
        self._note_changed({offer})

    def put(self, field: str, blob: bytes) -> int:
        """Replace one field by its stored form; returns the offer's number. Raises as ``put_all``."""
        return self.put_all([(field, blob)]).pop()

    def put_all(self, fields: Iterable[tuple[str, bytes]]) -> set[int]:
        """Replace several fields by their stored forms, all or none; returns the offers' numbers.

        Raises ``StateCodecError`` if a field or a blob is not one of this policy's; then nothing has changed.
        """
        # All are decoded before the first is stored, so that a damaged one leaves the table as it was.
        read = [(_parse_field(field), decode_state(blob, self.width)) for field, blob in fields]
        for (offer, period), state in read:
            self._by_offer.setdefault(offer, {})[period] = state
        changed = {offer for (offer, _), _ in read}
        self._note_changed(changed)
        return changed

    def _note_changed(self, offers: set[int]) -> None:
        self._changed |= offers
        if self._grouped is not None:
            self._grouped.note_changed(offers)

    def encode(self, field: str) -> bytes:
        """Return one field in its stored form. Raises ``KeyError`` if nothing was added to it."""
        offer, period = _parse_field(field)
        return encode_state(self._by_offer[offer][period])

    def fields(self) -> Iterator[tuple[str, bytes]]:
        """Yield all fields in their stored form, sorted by offer and period."""
        for offer in sorted(self._by_offer):
            for period in sorted(self._by_offer[offer]):
                yield f"{offer}:{period}", encode_state(self._by_offer[offer][period])

    def offers(self) -> list[int]:
        """Return the numbers of the offers that have been observed, sorted."""
        return sorted(self._by_offer.keys() - {SHARED})

    def read(
        self,
        policy: Policy,
        offers: IntArray,
        tick: int,
        rows: NDArray[np.intp] | None = None,
        groups: OfferGroups | None = None,
    ) -> Sums:
        """Return the sums of ``offers`` decayed to ``tick``, zeros for cold arms; only those of ``rows`` if given.

        ``groups``: of all offers there are, for policies that share strength by them.
        """
        own = np.zeros((len(offers), self.width))
        read: dict[int, FloatArray] = {}
        for row in range(len(offers)) if rows is None else rows.tolist():
            offer = int(offers[row])
            own[row] = read[offer] = self._decayed(policy, offer, tick)
        shared = self._decayed(policy, SHARED, tick)
        pool: EvidencePool | None = getattr(policy, "pool", None)
        pooled, evidence = 0.0, None
        if pool is not None:
            said = self._evidence(policy, pool, shared, tick, read)
            pooled = math.fsum(said.values())
            if pool.by_offer:
                evidence = np.array([said.get(offer, 0.0) for offer in offers.tolist()])
        by_group = None
        if groups is not None and getattr(policy, "by_group", False):
            if self._grouped is None:
                self._grouped = GroupTotals(self.width, self._by_offer)
            by_group = self._grouped.read(groups, policy.decay, offers, tick)
        return Sums(offers, own, shared, pooled=pooled, evidence=evidence, by_group=by_group)

    def _evidence(
        self,
        policy: Policy,
        pool: EvidencePool,
        shared: FloatArray,
        tick: int,
        read: Mapping[int, FloatArray],
    ) -> Mapping[int, float]:
        """Return what each arm says, by offer; only those that changed since the last time are asked.

        ``read``: sums decayed to ``tick`` that are known already, by offer.
        """
        kept = self._pooled
        if kept is not None and kept.policy is not policy:
            kept = None
        context = pool.context(shared, None if kept is None else kept.context)
        if kept is None or kept.tick != tick or kept.context is not context:
            kept, asked = _Pooled(policy, tick, context, {}), self.offers()
        else:
            asked = sorted(self._changed - {SHARED})
        if asked:
            own = np.array([read[o] if o in read else self._decayed(policy, o, tick) for o in asked])
            kept.values.update(zip(asked, pool.evidence(own, context).tolist(), strict=True))
        self._pooled, self._changed = kept, set()
        return kept.values

    def _decayed(self, policy: Policy, offer: int, tick: int) -> FloatArray:
        total = np.zeros(self.width)
        periods = self._by_offer.get(offer, {})
        for period in sorted(periods):  # sums of floats depend on the order
            total += total_of(periods[period]) * policy.decay.scale(period, tick)
        return total


TAUGHT_TOGETHER = 1024
"""The most observations whose contributions are computed at once."""
_FEW = 8
"""With fewer observations, one after the other is faster."""


def fold_observations(
    policy: Policy, observations: Iterable[tuple[Observation, float]]
) -> Mapping[str, FloatArray]:
    """Sum the contributions of ``(observation, Unix seconds)`` pairs by field."""
    learn_all = _learn_all_of(policy)
    seen = iter(observations)
    sums: dict[str, FloatArray] = {}
    while part := list(islice(seen, TAUGHT_TOGETHER)):
        if learn_all is None or len(part) < _FEW:
            added = _add_each(policy, part)
        else:
            added = _add_together(policy, learn_all, part)
        for field, delta in added:
            sums[field] = sums[field] + delta if field in sums else delta
    return sums


def _learn_all_of(policy: Policy) -> LearnAll | None:
    """Return a policy's ``learn_all``, unless it has a ``learn`` of its own and only inherits how to learn many."""
    for class_ in type(policy).__mro__:
        if "learn_all" in vars(class_):
            learn_all: LearnAll = policy.learn_all  # type: ignore[attr-defined]
            return learn_all
        if "learn" in vars(class_):
            break
    return None


def _add_each(policy: Policy, part: Sequence[tuple[Observation, float]]) -> Iterator[tuple[str, FloatArray]]:
    for observation, at_s in part:
        fields, delta = arm_contributions(policy, observation, at_s)
        for field in fields:
            yield field, delta


def _add_together(
    policy: Policy, learn_all: LearnAll, part: Sequence[tuple[Observation, float]]
) -> Iterator[tuple[str, FloatArray]]:
    """Yield what observations add, by field. Contributions are exact, so their order does not matter."""
    weights = np.array([policy.decay.weight(at_s) for _, at_s in part])
    deltas = quantise(learn_all([observation for observation, _ in part]) * weights[:, None])
    rows: dict[tuple[int, int], list[int]] = {}
    for row, (observation, at_s) in enumerate(part):
        period = policy.decay.period(at_s)
        rows.setdefault((observation.offer, period), []).append(row)
        if policy.shared:
            rows.setdefault((SHARED, period), []).append(row)
    for (offer, period), its in rows.items():
        yield f"{offer}:{period}", deltas[its].sum(axis=0)

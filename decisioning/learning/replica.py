"""The arms in this process's memory, kept fresh by the changes that learners push."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bandits.policy import SHARED, FloatArray, Policy, Sums
from bandits.sequential_policy import MODEL_FIELD, LearnedState, ModelState, is_learner, is_sequential
from bandits.state import ArmTable
from decisioning.catalog.placement_view import PlacementView


@dataclass(slots=True)
class _Prepared:
    policy: Policy
    view: PlacementView
    tick: int
    from_ms: int
    until_ms: float
    value: Any
    stale: set[int] = field(default_factory=set)

    def serves(self, view: PlacementView, now_ms: int) -> bool:
        """Return whether it is for the same offers, in the same order, of the same groups, and this time."""
        same = self.view is view or (
            np.array_equal(self.view.numbers, view.numbers)
            and (not getattr(self.policy, "by_group", False) or self.view.offer_groups == view.offer_groups)
        )
        return bool(same and self.from_ms <= now_ms < self.until_ms)


@dataclass(frozen=True, slots=True)
class Preparation:
    """Work that may be done in another thread: preparing a policy for a view that is not in use yet."""

    policy: Policy
    sums: Sums
    result: _Prepared

    def run(self) -> None:
        """Do it; from then on the first decision with the view finds the result."""
        self.result.value = self.policy.prepare(self.sums)


def prepare(policy: Policy, table: LearnedState, view: PlacementView, at_ms: int) -> Any:
    """Prepare a policy to choose among the view's offers at a time, from the whole table."""
    tick = policy.decay.tick(at_ms / 1000.0)
    return policy.prepare(table.read(policy, view.numbers, tick, groups=view.offer_groups))


class ArmReplica:
    """Arm tables of all learning policies, and what policies prepared from them for each placement."""

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self.policies = policies
        self._tables: dict[str, LearnedState] = {}
        self._prepared: dict[tuple[str, str], _Prepared] = {}
        self._ahead: dict[tuple[str, str], _Prepared] = {}

    def epoch(self, key: str) -> int | None:
        """Return the epoch of a policy's arms; ``None`` until they have been loaded; 0 if the policy learns nothing."""
        table = self._tables.get(key)
        if table is not None:
            return table.epoch
        return None if is_learner(self.policies[key]) else 0

    def load(self, key: str, epoch: int, fields: Iterable[tuple[str, bytes]]) -> None:
        """Replace a policy's arms, or its model (which is unpacked here: see ``adopt``)."""
        policy = self.policies[key]
        if is_sequential(policy):
            blob = dict(fields).get(MODEL_FIELD)
            self.adopt(key, epoch, policy.fresh() if blob is None else policy.unpack(blob))
            return
        table = ArmTable(policy.width, epoch)
        table.put_all(fields)
        self._tables[key] = table
        self._drop_prepared(key)

    def forget(self, key: str) -> None:
        """Drop a policy's arms."""
        self._tables.pop(key, None)
        self._drop_prepared(key)

    def _drop_prepared(self, key: str) -> None:
        for prepared in (self._prepared, self._ahead):
            for name in [name for name in prepared if name[0] == key]:
                del prepared[name]

    def adopt(self, key: str, epoch: int, model: Any) -> None:
        """Replace a sequential policy's model by one that was unpacked elsewhere."""
        self._tables[key] = ModelState(model, epoch)

    def apply(self, key: str, epoch: int, fields: Iterable[tuple[str, bytes]]) -> bool:
        """Apply one fold's changes. False (and nothing changed) if it is not the next epoch.

        Raises ``StateCodecError`` (and nothing changed) if a change is not one of this policy's arms.
        """
        table = self._tables.get(key)
        if table is None or epoch != table.epoch + 1:
            return False
        if isinstance(table, ModelState):
            if any(True for _ in fields):
                return False  # another model: it has to be read
            table.epoch = epoch
            return True
        changed = table.put_all(fields)
        table.epoch = epoch
        self._mark_stale(key, changed)
        return True

    def add(self, key: str, deltas: Mapping[str, FloatArray]) -> None:
        """Add to a policy's loaded arms. Only for arms that this process alone has: their epoch does not move."""
        table = self._tables[key]
        assert isinstance(table, ArmTable)
        for name, delta in deltas.items():
            table.add(name, delta)
        self._mark_stale(key, {int(name.partition(":")[0]) for name in deltas})

    def _mark_stale(self, key: str, offer_numbers: set[int]) -> None:
        # Preparing is lazy: a change only marks its offers, and the next decision refreshes those rows.
        for prepared in (self._prepared, self._ahead):
            for name, value in prepared.items():
                if name[0] == key:
                    value.stale |= offer_numbers

    def table(self, key: str) -> LearnedState | None:
        """Return a policy's arms, or its model, to be read only."""
        return self._tables.get(key)

    def in_use(self) -> list[tuple[str, str]]:
        """List policies (``name@version``) and placements for which something is prepared."""
        return list(self._prepared)

    def plan_ahead(self, key: str, view: PlacementView, now_ms: int) -> Preparation | None:
        """Plan to prepare a policy for a view that will be used soon; ``None`` if there is nothing to do.

        Changes of arms that come before it is used are made up for then.
        """
        table, name = self._tables.get(key), (key, view.placement.placement_id)
        cached = self._prepared.get(name)
        if not isinstance(table, ArmTable) or (cached is not None and cached.serves(view, now_ms)):
            return None
        policy = self.policies[key]
        tick = policy.decay.tick(now_ms / 1000.0)
        result = _Prepared(policy, view, tick, now_ms, policy.decay.tick_ends_ms(tick), None)
        self._ahead[name] = result
        return Preparation(policy, table.read(policy, view.numbers, tick, groups=view.offer_groups), result)

    def prepared(self, key: str, view: PlacementView, now_ms: int) -> Any:
        """Return what the policy needs to choose among the view's offers, at the present epoch."""
        name = key, view.placement.placement_id
        cached = self._prepared.get(name)
        if cached is None or cached.view is not view:
            cached = self._take_over(name, cached, view, now_ms)
        policy = self.policies[key] if cached is None else cached.policy
        table = self._tables.get(key) or ArmTable(policy.width)
        if isinstance(table, ModelState):
            return prepare(policy, table, view, now_ms)
        # Weights of observations depend on the tick, so all rows are prepared anew when it moves on.
        if cached is None or not cached.from_ms <= now_ms < cached.until_ms:
            value, tick = prepare(policy, table, view, now_ms), policy.decay.tick(now_ms / 1000.0)
            until_ms = policy.decay.tick_ends_ms(tick)
            self._prepared[name] = _Prepared(policy, view, tick, now_ms, until_ms, value)
            return value
        if cached.stale:
            rows = np.flatnonzero(np.isin(view.numbers, list(cached.stale)))
            # What is shared by all offers may change no row, and every estimate.
            if len(rows) or SHARED in cached.stale:
                sums = table.read(policy, view.numbers, cached.tick, rows, view.offer_groups)
                try:
                    cached.value = policy.refresh(cached.value, sums, rows)
                except BaseException:
                    del self._prepared[name]  # its arrays may be half refilled
                    raise
            cached.stale.clear()
        return cached.value

    def _take_over(
        self, name: tuple[str, str], cached: _Prepared | None, view: PlacementView, now_ms: int
    ) -> _Prepared | None:
        """Find what serves a new view: what was in use, if its offers are the same, or what was prepared ahead."""
        if cached is not None and cached.serves(view, now_ms):
            cached.view = view
            return cached
        ahead = self._ahead.pop(name, None)
        if ahead is None or ahead.value is None or ahead.view is not view:
            return None
        self._prepared[name] = ahead
        return ahead

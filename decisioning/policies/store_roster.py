"""The registered policies, fed into a process's roster while it runs."""

import asyncio
import importlib
import logging
import math
from collections.abc import Mapping

from bandits.errors import BanditsError
from bandits.plugins import clear_plugin_cache
from bandits.policy import Policy, PolicySpec
from bandits.specification import parse_stored_spec
from decisioning.policies.roster import Roster, build_or_reason
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_rows import PolicyState

log = logging.getLogger(__name__)

RETRY_S = 60.0
"""The time between two tries to build what could not be built here."""


class RosterFeed:
    """Brings a roster up to date. ``states`` are those of the registered policies as last read."""

    def __init__(self, store: PolicyStore, roster: Roster, retry_s: float = RETRY_S) -> None:
        self.store = store
        self._retry_s = retry_s
        self._tried_s = -math.inf
        self._roster = roster
        self._known: set[str] = set()
        self.states: Mapping[str, PolicyState] = {}
        self._once_live: set[str] = set()
        self._refreshing = asyncio.Lock()

    async def refresh(self) -> None:
        """Take in what was registered and retired. Raises ``PostgresUnavailable``; then all is as before."""
        async with self._refreshing:  # an answer that took longer must not undo a newer one
            states = await self.store.states()
            new = (states.keys() - self._known) | self._to_try_again(states)
            if new:
                bodies = await self.store.bodies(new)
                # In a thread, since trying a pipeline out takes its time.
                specs, built = await asyncio.to_thread(self._build, bodies)
                told = dict(self._roster.broken)
                self._roster.add(specs, built)
                for key in new & self._roster.broken.keys():
                    if self._roster.broken[key] != told.get(key):
                        log.warning("policy %s cannot be used here: %s", key, self._roster.broken[key])
                for key in new & (told.keys() - self._roster.broken.keys()):
                    log.info("policy %s can be used here again", key)
                self._known |= new
            if states != self.states:
                self._roster.retire(key for key, state in states.items() if state == "retired")
                self.states = states
                self._once_live |= {key for key, state in states.items() if state == "live"}

    def policy(self, key: str) -> Policy:
        """Return a policy of the roster."""
        return self._roster[key]

    def _to_try_again(self, states: Mapping[str, PolicyState]) -> set[str]:
        """Pick the policies that could not be built here, if it is time: a package may be there by now."""
        broken = {key for key in self._roster.broken if states.get(key, "retired") != "retired"}
        now_s = asyncio.get_running_loop().time()
        if not broken or now_s - self._tried_s < self._retry_s:
            return set()
        self._tried_s = now_s
        importlib.invalidate_caches()
        clear_plugin_cache()
        return broken

    def out_of_order(self) -> tuple[list[str], list[str]]:
        """Find the policies that were set aside, or whose warm start failed, and those that cannot be used here."""
        failed = [
            key
            for key, state in self.states.items()
            if state == "failed" or (state == "folding" and key in self._once_live)
        ]
        unusable = [key for key in self._roster.broken if self.states.get(key, "retired") != "retired"]
        return sorted(failed), sorted(unusable)

    def live(self) -> list[str]:
        """Find the policies that learn and can do so here: the built-in ones, and those whose warm start is done."""
        return [key for key in self._roster.learning() if self.states.get(key, "live") == "live"]

    def deciding(self) -> list[str]:
        """Find the policies that may decide with the arms that there are: live ones, and those set aside meanwhile."""
        asked = ("failed", "folding")
        return [
            key
            for key in self._roster.learning()
            if (state := self.states.get(key, "live")) == "live"
            or (key in self._once_live and state in asked)
        ]

    async def learning(self) -> list[str]:
        """Find all policies behind whose arms nothing may be trimmed, also those that cannot be used here.

        As Postgres says now. Raises ``PostgresUnavailable``.
        """
        registered = await self.store.learning()
        return sorted({*registered, *(key for key in self._roster.learning() if key not in self._known)})

    def _build(
        self, bodies: Mapping[str, Mapping[str, object]]
    ) -> tuple[list[PolicySpec], dict[str, Policy | str]]:
        specs = []
        for key, body in bodies.items():
            try:
                specs.append(parse_stored_spec(body))
            except BanditsError as error:
                self._roster.mark_unreadable(key, str(error))
        return specs, {spec.key: build_or_reason(spec) for spec in specs}

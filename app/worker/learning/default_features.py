"""The default policy of an installation: features of what is declared by now, and what it forgets, in new versions."""

from dataclasses import dataclass

from decisioning.rollout.default_service import DefaultKeeper

IDLE_S = 60.0
"""The pause where it is switched off."""


@dataclass
class DefaultFeatures:
    """Look every ``interval_s`` whether the default needs a new version, or one waits to be put in place; 0: never."""

    keeper: DefaultKeeper
    interval_s: float

    async def round(self) -> float:
        """Look once; return how long to sleep. Raises ``Unavailable``."""
        if not self.interval_s:
            return IDLE_S
        await self.keeper.look()
        return self.interval_s

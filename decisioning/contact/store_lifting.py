"""Signals that are lifted: what was remembered of them is taken away, and no rebuild brings it back."""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.contact.history import SUPPRESSION, signal_cause
from profiles.privacy.store_actions import note_action
from profiles.privacy.store_erasures import LOCK_STORING, refuse_erased
from storage.keys import Keys
from storage.postgres import transaction
from storage.redis import redis_errors

_LIFT = text("""
INSERT INTO lifted_signals AS l (customer_id, signal_id, lifted_ms)
SELECT name, :signal_id, :now_ms FROM unnest(cast(:names AS text[])) AS name
ON CONFLICT (customer_id, signal_id) DO UPDATE SET lifted_ms = greatest(l.lifted_ms, excluded.lifted_ms)
""")


class SignalLifter:
    """Lifts signals. Raises ``PostgresUnavailable`` and ``RedisUnavailable``: it may be repeated."""

    def __init__(self, engine: AsyncEngine, redis: "Redis", keys: Keys) -> None:
        self._engine = engine
        self._redis: Any = redis
        self._keys = keys

    async def lift(self, names: Sequence[str], signal_id: str, author: str, reason: str, now_ms: int) -> None:
        """Forget that a signal held until now. ``names``: of the customer, and then of all visitors that became part.

        It is noted in the trail. Raises ``ErasedCustomer`` for who is kept out.
        """
        async with transaction(self._engine) as connection:
            await connection.execute(LOCK_STORING)
            await refuse_erased(connection, names[0])
            values = {"names": list(names), "signal_id": signal_id, "now_ms": now_ms}
            await connection.execute(_LIFT, values)
            await note_action(connection, "lifted", names[0], author, reason, {"signal": signal_id})
        begins = f"0:::{SUPPRESSION}:{signal_cause(signal_id)}:".encode()
        async with redis_errors():
            # The visitors first: who hands contacts over to the customer meanwhile takes none of these along.
            for name in reversed(names):
                contact = self._keys.contact(name)
                members = await self._redis.zrange(contact, "-inf", f"({now_ms + 1}", byscore=True)
                if held := [member for member in members if member.startswith(begins)]:
                    await self._redis.zrem(contact, *held)

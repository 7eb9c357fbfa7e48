"""The usual values among all customers: surveyed by a worker, kept in Redis, and read by every process."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec import DecodeError, json, msgpack

from profiles.events.definitions import EventDefinitions
from profiles.events.fold import State
from profiles.events.population import Population, Survey, Usual
from storage.keys import ALL_EVENTS, POPULATION
from storage.redis import redis_errors

SCAN_SIZE = 500
_STATE = msgpack.Decoder(State)
_USUAL = json.Decoder(Usual)


@dataclass
class PopulationStore:
    """Surveys customers' states, and keeps what was found. Methods raise ``RedisUnavailable``."""

    redis: Any
    current: Population = field(default_factory=dict)
    """As it was read last by ``refresh``."""

    async def survey(self, definitions: EventDefinitions, now_ms: int) -> Population:
        """Read the states of all customers with events, and keep the distributions of what is compared with all."""
        survey = Survey(definitions, now_ms)
        async with redis_errors():
            cursor = 0
            while True:
                cursor, keys = await self.redis.scan(cursor, match=ALL_EVENTS, count=SCAN_SIZE)
                # One by one: in a cluster they lie in many slots.
                async with self.redis.pipeline(transaction=False) as pipe:
                    for key in keys:
                        pipe.get(key)
                    states = await pipe.execute()
                for packed in states:
                    survey.add(_decoded(packed))
                if not cursor:
                    break
            found = survey.result()
            async with self.redis.pipeline(transaction=True) as pipe:
                pipe.delete(POPULATION)
                if found:
                    pipe.hset(POPULATION, mapping={name: json.encode(one) for name, one in found.items()})
                await pipe.execute()
        self.current = found
        return found

    async def refresh(self) -> Population:
        """Read what was found last."""
        async with redis_errors():
            stored = await self.redis.hgetall(POPULATION)
        self.current = {name.decode(): _USUAL.decode(one) for name, one in stored.items()}
        return self.current


def _decoded(packed: bytes | None) -> State:
    try:
        return _STATE.decode(packed) if packed else {}
    except DecodeError:
        return {}


@dataclass
class PopulationSurvey:
    """The job of a worker: survey again and again, while anything is compared with all customers."""

    store: PopulationStore
    definitions: Callable[[], Awaitable[EventDefinitions]]
    clock_ms: Callable[[], int]
    interval_s: float

    async def round(self) -> float:
        """Survey if the last one is older than the interval, or lacks something; return how long to sleep."""
        definitions = await self.definitions()
        wanted = definitions.surveyed
        if not wanted:
            return CHECK_S
        known = await self.store.refresh()
        due_ms = self.clock_ms() - int(self.interval_s * 1000)
        if wanted - set(known) or min(known[name].at_ms for name in wanted) <= due_ms:
            await self.store.survey(definitions, self.clock_ms())
        return min(self.interval_s, CHECK_S)


CHECK_S = 30.0
"""So often it is looked whether a survey is due."""

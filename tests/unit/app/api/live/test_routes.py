"""The stream of what goes on now ends with what opened it."""

from types import SimpleNamespace
from typing import Any

import pytest

from app.api.live import routes
from app.keys import ApiKey

KEY = ApiKey("1", "shop", "ops")


class Session:
    """A session that is over after it was asked for twice."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def find(self, token: str) -> object | None:
        self.asked.append(token)
        return self if len(self.asked) <= 2 else None

    def key_among(self, keys: Any) -> object | None:
        return next(iter(keys.values()), None)


class Sampler:
    """Numbers that never change."""

    watchers = 0

    async def now(self) -> Any:
        return SimpleNamespace(model_dump_json=lambda: "{}")


async def test_a_stream_of_a_session_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "EVERY_S", 0.0)
    session, sampler = Session(), Sampler()
    state: Any = SimpleNamespace(api_keys={b"1": KEY}, sessions=session)
    told: Any = sampler
    assert [part async for part in routes._stream(state, told, KEY, "token")] == [
        "event: live\ndata: {}\n\n"
    ] * 2
    assert (session.asked, sampler.watchers) == (["token"] * 3, 0)


async def test_a_stream_of_a_key_asks_for_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "EVERY_S", 0.0)
    session, told = Session(), 0
    state: Any = SimpleNamespace(api_keys={b"1": KEY}, sessions=session)
    sampler: Any = Sampler()
    async for _ in routes._stream(state, sampler, KEY, None):
        told += 1
        if told == 5:
            state.api_keys = {}
    assert (told, session.asked) == (5, [])

"""Sessions of browsers: an API key, exchanged for a cookie that scripts cannot read.

The cookie holds 32 random bytes, of which only the hash is stored, as of keys: whoever reads the database cannot make
a session of it. Every process has all sessions in memory, so they outlive a Postgres that is away. A session ends with
its time, when somebody signs out, and with its key, in every process as soon as that learns of it.
"""

import asyncio
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import Problem
from app.keys import ApiKey, hash_key
from storage import clock
from storage.errors import PostgresUnavailable
from storage.postgres import transaction

COOKIE = "nb_session"
CSRF_HEADER = b"x-csrf-token"
SESSION_S = 12 * 3600
"""A working day; after it one signs in again."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
MAX_LOOKUPS = 2
"""Cookies that a process does not know are looked up so many at a time, whoever sends them."""
_MAX_TOKEN_CHARS = 64


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that was let in with a key."""

    key_id: str
    ends_at: datetime


class SessionStore:
    """Sessions in Postgres, by the hash of their token. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, digest: bytes, key_id: str) -> Session:
        """Store a session that begins now; sessions whose time is over are deleted."""
        async with transaction(self._engine) as connection:
            await connection.execute(text("DELETE FROM console_sessions WHERE ends_at <= now()"))
            ends_at = await connection.scalar(
                text(
                    "INSERT INTO console_sessions (hash, key_id, ends_at)"
                    " VALUES (:hash, :key_id, now() + make_interval(secs => :seconds)) RETURNING ends_at"
                ),
                {"hash": digest, "key_id": key_id, "seconds": SESSION_S},
            )
            assert isinstance(ends_at, datetime)
            return Session(key_id, ends_at)

    async def load(self) -> dict[bytes, Session]:
        """Load all sessions whose time is not over."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(
                text("SELECT hash, key_id, ends_at FROM console_sessions WHERE ends_at > now()")
            )
            return {bytes(row.hash): Session(row.key_id, row.ends_at) for row in rows}

    async def find(self, digest: bytes) -> Session | None:
        """Read one session, if there is one whose time is not over."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(
                text("SELECT key_id, ends_at FROM console_sessions WHERE hash = :hash AND ends_at > now()"),
                {"hash": digest},
            )
            row = rows.one_or_none()
            return None if row is None else Session(row.key_id, row.ends_at)

    async def end(self, digest: bytes) -> None:
        """Delete a session."""
        async with transaction(self._engine) as connection:
            await connection.execute(
                text("DELETE FROM console_sessions WHERE hash = :hash"), {"hash": digest}
            )


class Sessions:
    """The sessions that this process knows."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._known: dict[bytes, Session] = {}
        self._lookups = asyncio.Semaphore(MAX_LOOKUPS)

    async def refresh(self) -> None:
        """Read all sessions again. Raises ``PostgresUnavailable``; those known before stay as they are."""
        self._known = await self._store.load()

    async def begin(self, key: ApiKey) -> tuple[str, Session]:
        """Begin a session of a key; return its token, and itself. Raises ``PostgresUnavailable``."""
        token = secrets.token_urlsafe(32)
        digest = hash_key(token)
        session = await self._store.create(digest, key.key_id)
        self._known[digest] = session
        return token, session

    async def end(self, token: str) -> None:
        """End a session. Raises ``PostgresUnavailable``."""
        digest = hash_key(token)
        await self._store.end(digest)
        self._known.pop(digest, None)

    async def find(self, token: str) -> Session | None:
        """Find the session of a token; one that another process has just begun is looked up."""
        if not token or len(token) > _MAX_TOKEN_CHARS:
            return None
        digest = hash_key(token)
        session = self._known.get(digest)
        if session is None:
            try:
                async with self._lookups:
                    session = await self._store.find(digest)
            except PostgresUnavailable:
                return None
            if session is not None:
                self._known[digest] = session
        if session is None or session.ends_at <= clock.to_datetime(clock.now_ms()):
            return None
        return session

    async def key_of(
        self, headers: Mapping[bytes, bytes], method: str, keys: Mapping[bytes, ApiKey]
    ) -> ApiKey | None:
        """Find the key that a request's cookie stands for, among those in force.

        Raises ``Problem`` (403) for a write without the session's token in the header ``X-CSRF-Token``: another site
        can make a browser send the cookie, and cannot read the token.
        """
        token = read_cookie(headers)
        session = await self.find(token)
        if session is None:
            return None
        key = next((key for key in keys.values() if key.key_id == session.key_id), None)
        if key is None or method in SAFE_METHODS:
            return key
        given = headers.get(CSRF_HEADER, b"")
        if not hmac.compare_digest(given, csrf_token(token).encode()):
            raise Problem(403, "a session's writes take its token in the header X-CSRF-Token", "X-CSRF-Token")
        return key


def csrf_token(token: str) -> str:
    """Derive the token of a session's writes. The session's own cannot be found from it."""
    return sha256(b"csrf:" + token.encode()).hexdigest()


def read_cookie(headers: Mapping[bytes, bytes]) -> str:
    """Read the session's token from the cookies of a request; empty if there is none."""
    try:
        cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""

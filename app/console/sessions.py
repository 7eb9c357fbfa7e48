"""Sessions of browsers: an API key, or a sign-in elsewhere, exchanged for a cookie that scripts cannot read.

The cookie holds 32 random bytes, of which only the hash is stored, as of keys: whoever reads the database cannot make
a session of it. Every process has all sessions in memory, so they outlive a Postgres that is away. A session ends with
its time, when somebody signs out, and with its key, in every process as soon as that learns of it.
"""

import asyncio
import hmac
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.console.oidc import Person
from app.errors import Problem
from app.keys import PERSON, ApiKey, hash_key
from storage import clock
from storage.errors import PostgresUnavailable
from storage.postgres import single_statement, transaction

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
    """A browser that was let in: with a key, or for a person whom a provider vouched for."""

    key_id: str | None
    ends_at: datetime
    person: Person | None = None

    def key_among(self, keys: Mapping[bytes, ApiKey]) -> ApiKey | None:
        """Return the key that it stands for; ``None`` if that is not among those in force."""
        if self.person is not None:
            # People choose their names, so what they change is signed with the provider's own id, too.
            author = f"{self.person.name} ({self.person.subject})"
            return ApiKey(f"{PERSON}{self.person.subject}", author, self.person.role)
        return next((key for key in keys.values() if key.key_id == self.key_id), None)


_SELECT = "SELECT hash, key_id, subject, name, role, ends_at FROM console_sessions WHERE ends_at > now()"


class SessionStore:
    """Sessions in Postgres, by the hash of their token. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, digest: bytes, owner: ApiKey | Person) -> Session:
        """Store a session that begins now; sessions whose time is over are deleted."""
        key_id = owner.key_id if isinstance(owner, ApiKey) else None
        person = owner if isinstance(owner, Person) else None
        async with transaction(self._engine) as connection:
            await connection.execute(text("DELETE FROM console_sessions WHERE ends_at <= now()"))
            ends_at = await connection.scalar(
                text(
                    "INSERT INTO console_sessions (hash, key_id, subject, name, role, ends_at) VALUES"
                    " (:hash, :key_id, :subject, :name, :role, now() + make_interval(secs => :seconds))"
                    " RETURNING ends_at"
                ),
                {
                    "hash": digest,
                    "key_id": key_id,
                    "seconds": SESSION_S,
                    **{part: getattr(person, part, None) for part in ("subject", "name", "role")},
                },
            )
            assert isinstance(ends_at, datetime)
            return Session(key_id, ends_at, person)

    async def load(self) -> dict[bytes, Session]:
        """Load all sessions whose time is not over."""
        async with single_statement(self._engine) as connection:
            rows = await connection.execute(text(_SELECT))
            return {bytes(row.hash): _session_of(row) for row in rows}

    async def find(self, digest: bytes) -> Session | None:
        """Read one session, if there is one whose time is not over."""
        async with single_statement(self._engine) as connection:
            rows = await connection.execute(text(f"{_SELECT} AND hash = :hash"), {"hash": digest})
            row = rows.one_or_none()
            return None if row is None else _session_of(row)

    async def end(self, digest: bytes) -> None:
        """Delete a session."""
        async with transaction(self._engine) as connection:
            await connection.execute(
                text("DELETE FROM console_sessions WHERE hash = :hash"), {"hash": digest}
            )

    async def end_of(self, subject: str) -> int:
        """Delete all sessions of a person; returns how many."""
        async with transaction(self._engine) as connection:
            ended = await connection.execute(
                text("DELETE FROM console_sessions WHERE subject = :subject"), {"subject": subject}
            )
            return int(ended.rowcount)


class Sessions:
    """The sessions that this process knows. ``roles``: those that people have here whom a provider vouches for."""

    def __init__(self, store: SessionStore, roles: Collection[str] = ()) -> None:
        self._store = store
        self._roles = frozenset(roles)
        self._known: dict[bytes, Session] = {}
        self._lookups = asyncio.Semaphore(MAX_LOOKUPS)

    async def refresh(self) -> None:
        """Read all sessions again. Raises ``PostgresUnavailable``; those known before stay as they are."""
        self._known = await self._store.load()

    async def begin(self, owner: ApiKey | Person) -> tuple[str, Session]:
        """Begin a session of a key, or a person; return its token, and itself. Raises ``PostgresUnavailable``."""
        token = secrets.token_urlsafe(32)
        digest = hash_key(token)
        session = await self._store.create(digest, owner)
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
        # The settings of today count: a role that nobody may have any more ends with a restart.
        return session if session.person is None or session.person.role in self._roles else None

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
        key = session.key_among(keys)
        if key is None or method in SAFE_METHODS:
            return key
        given = headers.get(CSRF_HEADER, b"")
        if not hmac.compare_digest(given, csrf_token(token).encode()):
            raise Problem(403, "a session's writes take its token in the header X-CSRF-Token", "X-CSRF-Token")
        return key


def _session_of(row: Any) -> Session:
    person = None if row.subject is None else Person(row.subject, row.name, row.role)
    return Session(row.key_id, row.ends_at, person)


def csrf_token(token: str) -> str:
    """Derive the token of a session's writes. The session's own cannot be found from it."""
    return sha256(b"csrf:" + token.encode()).hexdigest()


def read_cookie(headers: Mapping[bytes, bytes], name: str = COOKIE) -> str:
    """Read a cookie of a request, by default the session's token; empty if there is none."""
    try:
        cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return ""
    return cookies[name].value if name in cookies else ""

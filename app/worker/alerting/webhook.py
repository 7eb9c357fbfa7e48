"""Webhooks: requests signed as Standard Webhooks says, to public addresses only unless a host is allowed by name.

A person who may change the catalogue names the address, so it must not become a way into the network of the worker:
the name is resolved once, all its addresses are checked, and the connection goes to one that was checked. Redirects are
not followed, proxies of the environment are not used, and nothing of the answer but its status is kept.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import httpx

from app.worker.alerting.receivers import Receiver
from decisioning.catalog.alert import webhook_problem

TIMEOUT_S = 10.0
PREFIX = "whsec_"
MIN_SECRET_BYTES = 24
MAX_SECRET_CHARS = 1000
MAX_RECEIVERS = 100
"""Receivers whose connections are kept."""
RESOLVED_S = 5.0
"""For so long the address of a name is used before it is asked for again."""
_TRANSLATED = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96"))
)
"""IPv4 addresses behind a translator (RFC 6052, 8215, 2765), or written as IPv6 ones, private ones too."""


class WebhookFailed(Exception):
    """A request was not sent, or not taken. The message says why, and holds no secret and no body of an answer."""


def sign(secret: bytes, webhook_id: str, timestamp: int, body: str) -> str:
    """Return the ``webhook-signature`` of a request: version 1, HMAC-SHA256 of ``id.timestamp.body``."""
    digest = hmac.new(secret, f"{webhook_id}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def parse_secret(text: str) -> bytes:
    """Read a secret such as ``whsec_<base64>``. Raises ``WebhookFailed`` without quoting it."""
    text = text.strip()
    if not text.startswith(PREFIX):
        raise WebhookFailed(f"the secret must begin with {PREFIX}")
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise WebhookFailed(f"the secret must be {PREFIX} and base64") from None
    if len(secret) < MIN_SECRET_BYTES:
        raise WebhookFailed(f"the secret must have {MIN_SECRET_BYTES} bytes or more")
    return secret


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        elif (
            any(found in network for network in _TRANSLATED)
            or found.sixtofour is not None
            or found.teredo is not None
            or found.is_site_local
        ):
            return False
    return found.is_global and not found.is_multicast


@dataclass(frozen=True, slots=True)
class _Target:
    """An address in its parts. ``netloc`` and ``path``: as a request names them."""

    is_https: bool
    host: str
    port: int
    netloc: str
    path: str


@lru_cache(MAX_RECEIVERS)
def _target_of(url: str) -> _Target:
    """Take an address apart. Raises ``WebhookFailed``, and ``httpx.InvalidURL``."""
    problem = webhook_problem(url)
    if problem:
        raise WebhookFailed(f"the address {problem}")
    parsed = httpx.URL(url)
    is_https = parsed.scheme == "https"
    port = parsed.port or (443 if is_https else 80)
    return _Target(
        is_https, parsed.host, port, parsed.netloc.decode("ascii"), parsed.raw_path.decode("ascii")
    )


@dataclass(frozen=True)
class Webhooks:
    """Sends requests. ``secrets``: the folder of secrets. ``hosts``: those that need not be public nor https."""

    secrets: Path | None
    hosts: Collection[str]
    clock_s: Callable[[], float]
    _receivers: dict[tuple[str, str, int, bool], Receiver] = field(default_factory=dict, init=False)
    _resolved: dict[tuple[str, int, bool], tuple[float, str]] = field(default_factory=dict, init=False)

    async def close(self) -> None:
        """Close the connections that are not in use."""
        while self._receivers:
            self._receivers.popitem()[1].close()

    def read_secret(self, name: str) -> bytes:
        """Read a secret by name, anew for each request. Raises ``WebhookFailed``."""
        if self.secrets is None:
            raise WebhookFailed("set NEXTBEST_WEBHOOK_SECRETS of the workers to the folder with the secrets")
        try:
            with (self.secrets / name).open(encoding="ascii") as file:
                return parse_secret(file.read(MAX_SECRET_CHARS))
        except (OSError, UnicodeDecodeError):
            raise WebhookFailed(f"the secret {name!r} cannot be read in NEXTBEST_WEBHOOK_SECRETS") from None

    async def send(self, url: str, secret: bytes, webhook_id: str, body: str) -> None:
        """Send a request; any status from 200 to 299 takes it. Raises ``WebhookFailed``."""
        timestamp = int(self.clock_s())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "nextbest",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secret, webhook_id, timestamp, body),
        }
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status = await self._post(_target_of(url), headers, body.encode())
        except TimeoutError:
            raise WebhookFailed(f"no answer within {TIMEOUT_S:g} s") from None
        except (OSError, httpx.InvalidURL) as error:
            raise WebhookFailed(f"cannot be reached: {type(error).__name__}") from None
        if not 200 <= status < 300:
            raise WebhookFailed(f"answered {status}")

    async def _post(self, target: _Target, headers: dict[str, str], body: bytes) -> int:
        allowed = target.host.lower() in self.hosts
        if not target.is_https and not allowed:
            raise WebhookFailed("the address must be https, unless NEXTBEST_WEBHOOK_HOSTS names its host")
        # To the address that was checked, with the certificate of the name.
        receiver = self._receiver(target, await self._resolve(target, allowed))
        headers = {"Host": target.netloc, **headers, "Content-Length": str(len(body))}
        lines = [f"POST {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return await receiver.post("\r\n".join([*lines, "", ""]).encode("ascii") + body)

    def _receiver(self, target: _Target, address: str) -> Receiver:
        """Return what holds the connections to an address that were made for this name: no other's are used."""
        key = target.host, address, target.port, target.is_https
        receiver = self._receivers.pop(key, None)
        if receiver is None:
            receiver = Receiver(target.host, address, target.port, tls=target.is_https)
        self._receivers[key] = receiver  # the one that was used last stands last
        if len(self._receivers) > MAX_RECEIVERS:
            self._receivers.pop(next(iter(self._receivers))).close()
        return receiver

    async def _resolve(self, target: _Target, allowed: bool) -> str:
        """Return an address of a name whose addresses have all been checked."""
        key, now_s = (target.host, target.port, allowed), time.monotonic()
        until_s, known = self._resolved.get(key, (0.0, ""))
        if now_s < until_s:
            return known
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                target.host, target.port, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError):
            raise WebhookFailed("its host is not known") from None
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses:
            raise WebhookFailed("its host is not known")
        if not allowed and not all(is_public(address) for address in addresses):
            raise WebhookFailed("its host is not public: NEXTBEST_WEBHOOK_HOSTS would have to name it")
        if len(self._resolved) >= MAX_RECEIVERS:
            self._resolved.clear()
        self._resolved[key] = now_s + RESOLVED_S, addresses[0]
        return addresses[0]

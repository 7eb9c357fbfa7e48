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
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from decisioning.catalog.alert import webhook_problem

TIMEOUT_S = 10.0
PREFIX = "whsec_"
MIN_SECRET_BYTES = 24
MAX_SECRET_CHARS = 1000
MAX_ANSWER_BYTES = 65_536
MAX_ANSWER_S = 1.0
MAX_CLIENTS = 100
"""Receivers whose connections are kept."""
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=30.0)
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""IPv4 addresses behind a translator, private ones too."""


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
        elif found in _TRANSLATED or found.sixtofour is not None or found.teredo is not None:
            return False
    return found.is_global and not found.is_multicast


@dataclass(frozen=True)
class Webhooks:
    """Sends requests. ``secrets``: the folder of secrets. ``hosts``: those that need not be public nor https."""

    secrets: Path | None
    hosts: Collection[str]
    clock_s: Callable[[], float]
    _clients: dict[tuple[str, str], httpx.AsyncClient] = field(default_factory=dict, init=False)

    async def close(self) -> None:
        """Close all connections."""
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.aclose()

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
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secret, webhook_id, timestamp, body),
        }
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status = await self._post(url, headers, body)
        except TimeoutError:
            raise WebhookFailed(f"no answer within {TIMEOUT_S:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise WebhookFailed(f"cannot be reached: {type(error).__name__}") from None
        if not 200 <= status < 300:
            raise WebhookFailed(f"answered {status}")

    async def _post(self, url: str, headers: dict[str, str], body: str) -> int:
        problem = webhook_problem(url)
        if problem:
            raise WebhookFailed(f"the address {problem}")
        target = httpx.URL(url)
        allowed = target.host.lower() in self.hosts
        if target.scheme != "https" and not allowed:
            raise WebhookFailed("the address must be https, unless NEXTBEST_WEBHOOK_HOSTS names its host")
        address = await self._resolve(target, allowed)
        headers = headers | {"Host": target.netloc.decode("ascii")}
        # To the address that was checked, with the certificate of the name.
        pinned = target.copy_with(host=address)
        client = await self._client(target.host, address)
        async with client.stream(
            "POST", pinned, content=body, headers=headers, extensions={"sni_hostname": target.host}
        ) as answer:
            await self._pass_over(answer)
            return answer.status_code

    async def _client(self, host: str, address: str) -> httpx.AsyncClient:
        """Return what holds the connections to an address that were made for this name: no other's are used."""
        key = host, address
        client = self._clients.pop(key, None)
        if client is None:
            client = httpx.AsyncClient(
                trust_env=False, follow_redirects=False, timeout=TIMEOUT_S, limits=LIMITS
            )
        self._clients[key] = client  # the one that was used last stands last
        if len(self._clients) > MAX_CLIENTS:
            await self._clients.pop(next(iter(self._clients))).aclose()
        return client

    @staticmethod
    async def _pass_over(answer: httpx.Response) -> None:
        """Read a short answer to its end, so that its connection can be used again; whatever it is, nothing is kept."""
        read = 0
        with suppress(TimeoutError, httpx.HTTPError):  # its status has come
            async with asyncio.timeout(MAX_ANSWER_S):
                async for chunk in answer.aiter_raw():
                    read += len(chunk)
                    if read > MAX_ANSWER_BYTES:
                        return

    @staticmethod
    async def _resolve(target: httpx.URL, allowed: bool) -> str:
        port = target.port or (443 if target.scheme == "https" else 80)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(target.host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise WebhookFailed("its host is not known") from None
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses:
            raise WebhookFailed("its host is not known")
        if not allowed and not all(is_public(address) for address in addresses):
            raise WebhookFailed("its host is not public: NEXTBEST_WEBHOOK_HOSTS would have to name it")
        return addresses[0]

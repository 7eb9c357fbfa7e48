"""Senders of what triggers decided: a signed request to a webhook, or an entry in a stream of Redis."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from app.worker.alerting.webhook import WebhookFailed, Webhooks
from decisioning.model.trigger import TriggerDelivery
from decisioning.triggers.ports import NotTaken
from decisioning.triggers.store_outbox import TriggerStreams
from storage.errors import RedisUnavailable

SECRET_S = 5.0
"""For so long a secret is used before it is read again."""


class TriggerSender:
    """Sends messages to where triggers say (a ``Sender``)."""

    def __init__(
        self, webhooks: Webhooks, streams: TriggerStreams, ticks_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._webhooks = webhooks
        self._streams = streams
        self._ticks_s = ticks_s
        self._secrets: dict[str, tuple[float, bytes]] = {}

    async def send(self, to: TriggerDelivery, message_id: str, message: Mapping[str, Any]) -> None:
        """Send a message; returns once it was taken. Raises ``NotTaken``."""
        # In one order, so that a message that was kept meanwhile is the same, byte by byte.
        body = json.dumps(message, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        try:
            if to.stream is not None:
                await self._streams.put(to.stream, message_id, body)
            elif to.webhook is not None and to.secret is not None:
                await self._webhooks.send(to.webhook, await self._secret(to.secret), message_id, body)
            else:
                raise NotTaken("the trigger has no webhook with a secret, and no stream")
        except WebhookFailed as error:
            raise NotTaken(f"the webhook: {error}") from None
        except RedisUnavailable as error:
            raise NotTaken(f"the stream: {error}") from None

    async def close(self) -> None:
        """Close the connections to webhooks."""
        await self._webhooks.close()

    async def _secret(self, name: str) -> bytes:
        now_s = self._ticks_s()
        read_s, secret = self._secrets.get(name, (0.0, b""))
        if not secret or now_s >= read_s + SECRET_S:
            secret = await asyncio.to_thread(self._webhooks.read_secret, name)
            self._secrets[name] = now_s, secret
        return secret

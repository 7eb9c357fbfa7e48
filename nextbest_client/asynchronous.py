"""The client for programs with an event loop."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from nextbest_client.answers import Decision, Offer
from nextbest_client.asking import (
    EVENTS,
    FEEDBACK,
    TIMEOUT_S,
    AskOptions,
    Core,
    DefaultOffers,
    EventOptions,
    Outcome,
    OutcomeOptions,
    event_item,
    json_of,
    outcome_item,
    question,
)
from nextbest_client.connections import AsyncConnections
from nextbest_client.errors import Unavailable
from nextbest_client.outbox import CLOSE_S, SEND_TIMEOUT_S, Outbox
from nextbest_client.retries import Breaker, Pause, Request, Retries, attempts


class AsyncClient(Core):
    """A client of nextbest; one for a whole program, in one event loop, closed at its end.

    ``defaults``, ``timeout_s``, ``http``: as of ``Client``. ``async with`` closes it.
    """

    def __init__(
        self,
        url: str = "",
        key: str = "",
        *,
        defaults: Mapping[str, DefaultOffers] | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: Retries | None = None,
        outbox: Outbox | None = None,
        breaker: Breaker | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        super().__init__(defaults, timeout_s, retries, outbox, breaker)
        self._http = http or httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            transport=AsyncConnections(),
            trust_env=False,
        )
        self._owns_http = http is None
        self._wake = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None

    async def decide(
        self,
        customer_id: str,
        placement: str,
        context: Mapping[str, Any] | None = None,
        **options: Unpack[AskOptions],
    ) -> Decision:
        """Ask for the best offers for a customer at a placement, now; as ``Client.decide``."""
        asked = question(customer_id, placement, context, options)
        local = self._local(asked)
        if local is not None and not self._breaker.lets_through():
            return local
        try:
            response = await self._run(asked.request, self._timeout_s)
        except Unavailable as error:
            return self._give_up(local, error)
        return self._answer(response)

    async def feedback(
        self,
        decision: Decision | str,
        offer: Offer | str,
        outcome: Outcome,
        **options: Unpack[OutcomeOptions],
    ) -> str:
        """Tell an outcome and wait until it is safe; as ``Client.feedback``."""
        item = outcome_item(decision, offer, outcome, options.get("value"), options.get("occurred_at"))
        return str((await self._run(Request("POST", FEEDBACK, item), self._timeout_s)).json()["status"])

    def tell(
        self,
        decision: Decision | str,
        offer: Offer | str,
        outcome: Outcome,
        **options: Unpack[OutcomeOptions],
    ) -> bool:
        """Tell an outcome in the background; returns at once. False: it was dropped, see ``outbox.dropped``."""
        return self._sending(self._put(decision, offer, outcome, options))

    async def event(
        self,
        customer_id: str,
        type: str,
        properties: Mapping[str, Any] | None = None,
        **options: Unpack[EventOptions],
    ) -> str:
        """Tell an event of a customer and wait until it is safe; as ``Client.event``."""
        item = event_item(customer_id, type, properties, options)
        return str((await self._run(Request("POST", EVENTS, item), self._timeout_s)).json()["status"])

    def track(
        self,
        customer_id: str,
        type: str,
        properties: Mapping[str, Any] | None = None,
        **options: Unpack[EventOptions],
    ) -> bool:
        """Tell an event in the background; False: it was dropped, see ``event_outbox.dropped``."""
        return self._sending(self._put_event(customer_id, type, properties, options))

    async def request(
        self,
        method: str,
        path: str,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Make another call, of those that may be repeated (all of nextbest but imports); returns its JSON.

        Raises ``Refused`` and ``Unavailable``.
        """
        request = Request(method, path, json, None if params is None else dict(params))
        return json_of(await self._run(request, timeout_s or self._timeout_s))

    async def flush(self, timeout_s: float = CLOSE_S) -> bool:
        """Send all that waits, now. Return whether nothing is left."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                # The sender ends when nothing is left.
                while self._sender is not None and not self._sender.done():
                    self._flushing = True
                    self._wake.set()
                    await asyncio.wait([self._sender], timeout=0.05)
        return not self._waiting() and (self._sender is None or self._sender.done())

    async def close(self, timeout_s: float = CLOSE_S) -> None:
        """Send what waits, for ``timeout_s`` at most, and close connections. What is left is counted as dropped."""
        if self._closed:
            return
        await self.flush(timeout_s)
        self._closed = True
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        for outbox in self._outboxes.values():
            outbox.close()
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, request: Request, timeout_s: float) -> httpx.Response:
        steps = attempts(request, self._retries, timeout_s)
        got: httpx.Response | httpx.TransportError | TimeoutError | None = None
        while True:
            try:
                step = steps.send(got)
            except StopIteration as done:
                response: httpx.Response = done.value
                return response
            got = None
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                continue
            asked = step.request
            try:
                # httpx bounds each part of an exchange by itself, this the whole.
                async with asyncio.timeout(step.timeout_s):
                    got = await self._http.request(
                        asked.method, asked.path, json=asked.json, params=asked.params, timeout=step.timeout_s
                    )
            except (httpx.TransportError, TimeoutError) as error:
                got = error

    def _sending(self, taken: bool) -> bool:
        """See to it that what was put into an outbox is sent."""
        if taken and (self._sender is None or self._sender.done()):
            self._sender = asyncio.create_task(self._send_all())
        if self._has_full_batch():
            self._wake.set()
        return taken

    async def _send_all(self) -> None:
        while self._waiting():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()
            self._wake.clear()
            for path, outbox in self._due():
                await self._send_batch(path, outbox)

    async def _send_batch(self, path: str, outbox: Outbox) -> None:
        batch = outbox.take()
        if not batch:
            return
        try:
            answer = (await self._run(Request("POST", path, {"items": batch}), SEND_TIMEOUT_S)).json()
            outbox.settle(batch, answer["items"])
        except asyncio.CancelledError:
            outbox.put_back(batch)
            raise
        except Exception as error:  # whatever it is, the sender goes on, and the batch is not lost
            outbox.fail(batch, error)

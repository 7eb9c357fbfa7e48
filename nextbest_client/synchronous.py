"""The client for programs with threads."""

import atexit
import threading
import time
from collections.abc import Mapping
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
from nextbest_client.errors import Unavailable
from nextbest_client.outbox import CLOSE_S, SEND_TIMEOUT_S, Outbox
from nextbest_client.retries import Breaker, Pause, Request, Retries, attempts


class Client(Core):
    """A client of nextbest; one for a whole program, shared by its threads.

    ``defaults``: offers by placement, answered while the service is away. ``timeout_s``: the most that a call takes,
    its repetitions included; make it longer than the deadlines of your placements. ``http``: a client of yours in place
    of one made here, which then knows address and key.
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
        http: httpx.Client | None = None,
    ) -> None:
        super().__init__(defaults, timeout_s, retries, outbox, breaker)
        self._http = http or httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False
        )
        self._owns_http = http is None
        self._wake = threading.Event()
        self._idle = threading.Condition()
        self._busy = False
        self._sender: threading.Thread | None = None
        self._starting = threading.Lock()

    def decide(
        self,
        customer_id: str,
        placement: str,
        context: Mapping[str, Any] | None = None,
        **options: Unpack[AskOptions],
    ) -> Decision:
        """Ask for the best offers for a customer at a placement, now.

        While the service is away the placement's defaults are answered, ``local``; without any, it raises
        ``Unavailable``. Raises ``Refused``.
        """
        asked = question(customer_id, placement, context, options)
        local = self._local(asked)
        if local is not None and not self._breaker.lets_through():
            return local
        try:
            response = self._run(asked.request, self._timeout_s)
        except Unavailable as error:
            return self._give_up(local, error)
        return self._answer(response)

    def feedback(
        self,
        decision: Decision | str,
        offer: Offer | str,
        outcome: Outcome,
        **options: Unpack[OutcomeOptions],
    ) -> str:
        """Tell an outcome and wait until it is safe: ``recorded``, ``duplicate`` or ``late``.

        Raises ``Refused``, and ``Unavailable``, after which it may be told again. Raises ``ValueError`` for a decision
        that is ``local``.
        """
        item = outcome_item(decision, offer, outcome, options.get("value"), options.get("occurred_at"))
        return str(self._run(Request("POST", FEEDBACK, item), self._timeout_s).json()["status"])

    def tell(
        self,
        decision: Decision | str,
        offer: Offer | str,
        outcome: Outcome,
        **options: Unpack[OutcomeOptions],
    ) -> bool:
        """Tell an outcome in the background; returns at once. False: it was dropped, see ``outbox.dropped``."""
        return self._sending(self._put(decision, offer, outcome, options))

    def event(
        self,
        customer_id: str,
        type: str,
        properties: Mapping[str, Any] | None = None,
        **options: Unpack[EventOptions],
    ) -> str:
        """Tell an event of a customer and wait until it is safe: ``recorded`` or ``duplicate``.

        Raises ``Refused``, and ``Unavailable``, after which it may be told again under the same ``event_id``.
        """
        item = event_item(customer_id, type, properties, options)
        return str(self._run(Request("POST", EVENTS, item), self._timeout_s).json()["status"])

    def track(
        self,
        customer_id: str,
        type: str,
        properties: Mapping[str, Any] | None = None,
        **options: Unpack[EventOptions],
    ) -> bool:
        """Tell an event in the background; False: it was dropped, see ``event_outbox.dropped``."""
        return self._sending(self._put_event(customer_id, type, properties, options))

    def request(
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
        return json_of(self._run(request, timeout_s or self._timeout_s))

    def flush(self, timeout_s: float = CLOSE_S) -> bool:
        """Send all that waits, now. Return whether nothing is left."""
        ends_s = time.monotonic() + timeout_s
        with self._idle:
            while self._waiting() or self._busy:
                left_s = ends_s - time.monotonic()
                if left_s <= 0 or self._sender is None or not self._sender.is_alive():
                    return False
                self._flushing = True
                self._wake.set()
                self._idle.wait(min(left_s, 0.05))
        return True

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Send what waits, for ``timeout_s`` at most, and close connections. What is left is counted as dropped."""
        if self._closed:
            return
        self.flush(timeout_s)
        self._closed = True
        self._wake.set()
        if self._sender is not None:
            self._sender.join(timeout_s)
        for outbox in self._outboxes.values():
            outbox.close()
        atexit.unregister(self.close)
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, request: Request, timeout_s: float) -> httpx.Response:
        steps = attempts(request, self._retries, timeout_s)
        got: httpx.Response | httpx.TransportError | None = None
        while True:
            try:
                step = steps.send(got)
            except StopIteration as done:
                response: httpx.Response = done.value
                return response
            got = None
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                continue
            asked = step.request
            try:
                got = self._http.request(
                    asked.method, asked.path, json=asked.json, params=asked.params, timeout=step.timeout_s
                )
            except httpx.TransportError as error:
                got = error

    def _sending(self, taken: bool) -> bool:
        """See to it that what was put into an outbox is sent."""
        if taken and (self._sender is None or not self._sender.is_alive()):
            self._start_sender()
        if self._has_full_batch():
            self._wake.set()
        return taken

    def _start_sender(self) -> None:
        with self._starting:
            # Not before something is told, and anew in a process that was forked.
            if self._sender is None or not self._sender.is_alive():
                self._sender = threading.Thread(target=self._send_all, name="nextbest-sender", daemon=True)
                self._sender.start()
                atexit.unregister(self.close)
                atexit.register(self.close)

    def _send_all(self) -> None:
        while not self._closed:
            self._wake.wait(self._pause_s())
            self._wake.clear()
            for path, outbox in self._due():
                self._send_batch(path, outbox)

    def _send_batch(self, path: str, outbox: Outbox) -> None:
        with self._idle:
            self._busy = True
            batch = outbox.take()
        try:
            if batch:
                answer = self._run(Request("POST", path, {"items": batch}), SEND_TIMEOUT_S).json()
                outbox.settle(batch, answer["items"])
        except Exception as error:  # whatever it is, the sender goes on, and the batch is not lost
            outbox.fail(batch, error)
        finally:
            with self._idle:
                self._busy = False
                self._idle.notify_all()

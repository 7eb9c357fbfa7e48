"""The live part of the demo: visitors, a screen that is refreshed, and a last look when they have gone."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.live import Live

from app.processes.supervise import Child
from demo import rollout
from demo.client import ApiClient, DemoError, Json
from demo.load import DemoData
from demo.names import REWARD_WINDOW_S, WEB
from demo.purchases import Shoppers
from demo.report import Figures, live_view, plain_line, print_end, print_start, write_json
from demo.serving.service import tail
from demo.visitors import Visitors
from nextbest_client import NextbestError

SEED = 2017
REFRESH_S = 1.0
PLAIN_LINE_S = 5.0
WRITE_S = 5.0
MAX_TRIED_CUSTOMERS = 50
TIERS = ("eligibility", "applicability", "suitability")
# Silence counts once the reward window has closed; then the worker needs a moment.
SETTLE_S = REWARD_WINDOW_S + 2.0
MAX_LATE_S = 30.0


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the demo: what it serves, where it writes, and what it reports.

    `interrupted` raises if the user wanted to stop before there were visitors.
    """

    figures: Figures
    prepared: DemoData
    child: Child
    log: Path
    report: Path
    console: Console
    interrupted: Callable[[], None]

    def check(self) -> None:
        """Raise DemoError, with the end of the log, if the service has ended."""
        if not self.child.running:
            raise DemoError(f"the service ended:\n{tail(self.log)}")


async def live_visitors(session: Session, api: ApiClient, seconds: float | None) -> None:
    """Let visitors come for `seconds`, or until SIGINT or SIGTERM, and report. Raises DemoError if the service ends."""
    figures, console = session.figures, session.console
    customers = session.prepared.crowd.customers
    warm = {arm["offer_id"]: float(arm["observations"]) for arm in figures.arms}
    with suppress(NextbestError):  # it is asked for again when visitors have gone
        figures.explained = await explain_decision(api, customers)
    print_start(console, figures)
    visitors = Visitors(api, session.prepared.crowd, seed=SEED)
    figures.tally = visitors.tally
    stop, hurry = asyncio.Event(), asyncio.Event()
    with _stopping(stop, hurry):
        session.interrupted()
        shoppers = Shoppers(api, session.prepared.purchases.today, visitors.tally)
        crowd = asyncio.gather(visitors.run(stop), shoppers.run(stop))
        asked = asyncio.create_task(_evaluate(session, api, stop))
        try:
            await _watch(session, api, crowd, stop, warm, seconds)
        finally:
            stop.set()
            # Visitors who are inside still answer, so that all decisions have their outcomes.
            await asyncio.gather(crowd, asked)
        console.print(f"The visitors have gone. {SETTLE_S:.0f} s more, until the last silence counts.")
        with suppress(TimeoutError):
            await asyncio.wait_for(hurry.wait(), SETTLE_S)
        try:
            figures.explained = await explain_decision(api, customers) or figures.explained
        except NextbestError as error:
            figures.tally.errors[f"report: {type(error).__name__}"] += 1
        await refresh(session, api, warm)
        await look_beside(session, api)
        # Workers of a busy machine may be behind: what a basket led to, and what the shadow says, is waited for.
        late = time.monotonic() + MAX_LATE_S
        while not (figures.shows_all or hurry.is_set()) and time.monotonic() < late:
            await asyncio.sleep(REFRESH_S)
            await refresh(session, api, warm)
            await look_beside(session, api)
        try:
            figures.interests = await api.interests()
        except NextbestError as error:
            figures.tally.errors[f"report: {type(error).__name__}"] += 1
        print_end(console, figures)
        await asyncio.to_thread(write_json, figures, session.report)
        console.print(f"The same figures are in {session.report}", highlight=False, soft_wrap=True)


async def _evaluate(session: Session, api: ApiClient, stop: asyncio.Event) -> None:
    """Ask for an evaluation, which a worker runs beside; what keeps it from being asked for is counted."""
    try:
        await rollout.ask_evaluation(api, stop)
    except (DemoError, httpx.HTTPError) as error:
        session.figures.tally.errors[f"evaluation: {type(error).__name__}"] += 1


async def _watch(
    session: Session,
    api: ApiClient,
    crowd: asyncio.Future[Any],
    stop: asyncio.Event,
    warm: dict[str, float],
    seconds: float | None,
) -> None:
    """Refresh the figures, the screen and now and then the file, until `stop` or the time is over."""
    figures, console = session.figures, session.console
    started = lined = written = time.monotonic()
    with Live(console=console, transient=True, auto_refresh=False) as display:
        while not (stop.is_set() or crowd.done()) and (seconds is None or figures.seconds < seconds):
            left = REFRESH_S if seconds is None else min(REFRESH_S, seconds - figures.seconds)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), left)
            session.check()
            now = time.monotonic()
            figures.seconds = now - started
            await refresh(session, api, warm)
            if console.is_terminal:
                display.update(live_view(figures), refresh=True)
            elif now - lined >= PLAIN_LINE_S:
                lined = now
                console.print(plain_line(figures), highlight=False, soft_wrap=True)
            if now - written >= WRITE_S:
                written = now
                await asyncio.to_thread(write_json, figures, session.report)


async def refresh(session: Session, api: ApiClient, warm: dict[str, float]) -> None:
    """Ask the API for the figures. While it cannot answer, the former ones stay."""
    figures = session.figures
    now = datetime.now(UTC)
    open_now = {offer.id for offer in session.prepared.offers if offer.live_at(now)}
    try:
        acceptance, arms, firings = await asyncio.gather(
            api.acceptance(), api.arms("calibrated"), api.firings()
        )
    except NextbestError as error:
        figures.tally.errors[f"report: {type(error).__name__}"] += 1
        return
    figures.acceptance, figures.firings = acceptance, firings
    # Others cannot be shown to anybody: their arms do not change.
    figures.arms = [arm for arm in arms if arm["offer_id"] in open_now]
    grown = (arm["observations"] - warm.get(arm["offer_id"], 0.0) for arm in arms)
    figures.learned_observations = sum(max(0.0, growth) for growth in grown)


async def look_beside(session: Session, api: ApiClient) -> None:
    """Ask the API what has come of all that stands beside the champion. While it cannot answer, it stays as it was."""
    try:
        session.figures.beside = await api.beside()
    except NextbestError as error:
        session.figures.tally.errors[f"report: {type(error).__name__}"] += 1


async def explain_decision(api: ApiClient, customers: Sequence[str]) -> Json | None:
    """Find a decision by the learning policy that shows why and why not.

    For the first of the customers who is not in the control group, gets something, and is refused something by a
    rule; for the first who gets something if there is none. Raises NextbestError.
    """
    chosen = None
    for customer_id in customers[:MAX_TRIED_CUSTOMERS]:
        question: Json = {"customer_id": customer_id, "placement": WEB, "context": {"page": "home"}}
        question |= {"explain": True}
        tried = await api.decide(question | {"dry_run": True})
        if tried["control"] or not tried["offers"]:
            continue
        rule_stopped_some = any(c.get("stage") in TIERS for c in tried.get("explanation") or ())
        if chosen is None or rule_stopped_some:
            chosen = question
        if rule_stopped_some:
            break
    if chosen is not None:
        answer = await api.decide(chosen)
        found = await api.decision(answer["decision_id"])
        return found | answer | {"customer_id": chosen["customer_id"]}
    return None


@contextmanager
def _stopping(stop: asyncio.Event, hurry: asyncio.Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM set `stop`, or `hurry` if it is set already, until the block ends."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        loop.add_signal_handler(number, lambda: (hurry if stop.is_set() else stop).set())
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)

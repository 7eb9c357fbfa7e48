"""`nextbest demo`, from an empty folder to live visitors and back."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

import migrations
from app.commands.interrupts import between_steps
from app.config import Settings, get_settings
from app.servers import server_urls
from demo import rollout, steering
from demo.client import ApiClient, DemoError
from demo.journey import JourneyMissing
from demo.live import Session, live_visitors
from demo.load import (
    KINDS,
    DemoData,
    Progress,
    create_catalogue,
    import_file,
    prepare,
    send_purchases,
    wait_until_learned,
)
from demo.purchases import trigger
from demo.report import Figures
from demo.serving.keys import create_keys
from demo.serving.service import (
    choose_port,
    find_free_port,
    fresh_folder,
    require_empty,
    running_service,
    wait_until_ready,
)
from demo.serving.shop import page_address, serving_shop
from nextbest_client import NextbestError
from nextbest_client.connections import AsyncConnections
from storage.addresses import parse_postgres

PLAIN_WIDTH = 120


def demo(seconds: float | None) -> None:
    """Set everything up in `demo` below the data folder and let visitors come, for `seconds` or until Ctrl-C.

    Exit status: 0 if decisions were served and learned from, 1 if not, 2 if the demo could not run.
    """
    console = Console()
    # Rich would take 80 columns for a file or a pipe, and wrap most lines.
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    try:
        learned = run_demo(get_settings(), seconds, console)
    except (DemoError, JourneyMissing) as error:
        typer.secho(f"nextbest demo: {error}", err=True, fg=typer.colors.RED)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(0 if learned else 1)


@dataclass
class Steps:
    """Print each step of the set-up with the seconds that it took; long ones have a bar meanwhile.

    `check` is called before and after each, and whenever one gets on: it raises if the user wants to stop.
    """

    console: Console
    check: Callable[[], None]
    taken: list[tuple[str, float]] = field(default_factory=list, init=False)

    @contextmanager
    def step(self, name: str) -> Iterator[Progress]:
        """Time a step. Yields a function to call with (done, total)."""
        self.check()
        started = time.monotonic()
        columns = (TextColumn("       {task.description}"), BarColumn(), MofNCompleteColumn())
        with Bar(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
            task = bar.add_task(name, total=None)

            def progress(done: int, total: int) -> None:
                self.check()
                bar.update(task, completed=done, total=total)

            yield progress
        self.check()
        seconds = time.monotonic() - started
        self.taken.append((name, seconds))
        self.console.print(f"{seconds:5.1f} s  {name}", highlight=False)


def run_demo(settings: Settings, seconds: float | None, console: Console) -> bool:
    """Run the demo; return whether decisions were served and learned from.

    Without `seconds` it runs until SIGINT or SIGTERM. Raises DemoError, JourneyMissing, ConfigError.
    """
    wanted = choose_port(settings.port)
    with ExitStack() as stack:
        steps = Steps(console, stack.enter_context(between_steps()))
        folder = stack.enter_context(fresh_folder(settings.data_dir))
        own = settings.model_copy(update={"data_dir": folder})
        with steps.step("read The Complete Journey, fit the models, write the import files"):
            prepared = prepare(folder, datetime.now(UTC).date())
        with steps.step("start PostgreSQL and Valkey, build the database"):
            urls = stack.enter_context(server_urls(own))
            # Embedded servers are in the folder, which is fresh; others may hold somebody's data.
            if settings.postgres_url is not None:
                asyncio.run(require_empty(urls))
            migrations.upgrade(parse_postgres(urls.postgres_url))
            origin = stack.enter_context(serving_shop(settings.host))
            keys = asyncio.run(create_keys(urls.postgres_url, [origin] if origin else []))
        port = find_free_port(settings.host, wanted)
        if port != wanted:
            console.print(f"Port {wanted} is taken, so the API is on {port}.", highlight=False)
        log = folder / "service.log"
        child = stack.enter_context(running_service(folder, port, log))
        api_url = f"http://{settings.host}:{port}"
        session = Session(
            figures=Figures(
                api_url=api_url,
                api_key=keys.admin,
                agent_key=keys.agent,
                page_key=keys.page,
                page_url=page_address(origin, api_url, keys.page) if origin else "",
                example_customer=prepared.crowd.customers[0],
                offer_names={offer.id: offer.name for offer in prepared.offers},
                set_up=steps.taken,
                data=prepared.summary(),
            ),
            prepared=prepared,
            child=child,
            log=log,
            report=settings.data_dir / "demo-report.json",
            console=console,
            interrupted=steps.check,
        )
        asyncio.run(_serve(session, steps, seconds))
        return session.figures.succeeded


async def _serve(session: Session, steps: Steps, seconds: float | None) -> None:
    figures, prepared = session.figures, session.prepared
    headers = {"Authorization": f"Bearer {figures.api_key}"}
    async with httpx.AsyncClient(
        base_url=figures.api_url, headers=headers, transport=AsyncConnections(), timeout=10
    ) as http:
        api = ApiClient(http)
        with steps.step("start the API and its worker"):
            await wait_until_ready(api, session.child, session.log, steps.check)
        await _load_data(api, prepared, steps)
        sent = prepared.purchases.before
        with steps.step(f"send {len(sent):,} events: purchases of the last days") as progress:
            await send_purchases(api, sent, progress)
        with steps.step("wait until reports and arms have the history") as progress:
            figures.arms = await wait_until_learned(api, prepared.rows["history"], progress)
        # Behind the purchases of before, which nobody is to be written to for.
        await api.put(*trigger())
        with steps.step("put one policy into the shadow and one in charge of a share, propose a change"):
            await _stand_beside(api, steps)
        total = sum(taken for _, taken in steps.taken)
        steps.console.print(f"{total:5.1f} s  in all", highlight=False)
        await live_visitors(session, api, seconds)


async def _stand_beside(api: ApiClient, steps: Steps) -> None:
    """Stage the policies beside the champion, and leave a change set that waits for approval. Raises DemoError."""
    try:
        await rollout.stage(api, steps.check)
    except NextbestError as error:
        raise DemoError(f"the policies beside the champion were not staged: {error}") from None
    title, item, body = steering.proposal()
    proposed = await api.change("POST", "/v1/changesets", {"title": title})
    path = f"/v1/changesets/{proposed['changeset_id']}"
    await api.change("PATCH", f"{path}/items/{item}", body)
    await api.change("POST", f"{path}/submit", {})


async def _load_data(api: ApiClient, prepared: DemoData, steps: Steps) -> None:
    with steps.step(f"create {len(prepared.offers)} offers, their treatments and the placements") as progress:
        await create_catalogue(api, prepared.offers, progress)
        await rollout.register(api)
    for kind in KINDS:
        with steps.step(f"import {prepared.rows[kind]:,} {kind}") as progress:
            await import_file(api, kind, prepared.files[kind], progress)
    left_out = prepared.history
    steps.console.print(
        f"         ({left_out.accepted:,} accepted, {left_out.expired:,} expired; left out: "
        f"{left_out.too_young} of a campaign that was too young when the data ended)",
        highlight=False,
    )

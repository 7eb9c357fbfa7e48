"""`nextbest demo`: real households and campaigns, served and learned from, with simulated visitors."""

import typer
from rich.console import Console

from app.config import get_settings

PLAIN_WIDTH = 120


def demo(seconds: float | None) -> None:
    """Set everything up in `demo` below the data folder and let visitors come, for `seconds` or until Ctrl-C.

    Exit status: 0 if decisions were served and learned from, 1 if not, 2 if the demo could not run.
    """
    from demo.client import DemoError
    from demo.journey import JourneyMissing
    from demo.run import run_demo

    console = Console()
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

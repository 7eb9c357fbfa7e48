"""`nextbest triggers`."""

from app.commands.triggers.firings import app

__all__ = ["app"]

"""The keys of one run: for everything, for the desk, and for pages."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.keys import KeyStore
from app.publishable.settings import PublishableSettings
from app.publishable.store import PublishableStore
from demo.names import WEB
from storage.postgres import make_engine


@dataclass(frozen=True, slots=True)
class DemoKeys:
    """A key of the role `admin`, one of the role `agent`, and a publishable one for the placement of the web."""

    admin: str
    agent: str
    page: str


async def create_keys(postgres_url: str, origins: Sequence[str]) -> DemoKeys:
    """Make the keys of this run. Pages of `origins` may use the publishable one, and so may apps."""
    engine = make_engine(postgres_url)
    try:
        keys = KeyStore(engine)
        settings = PublishableSettings.model_validate(
            {"placements": [WEB], "origins": list(origins), "apps": True}
        )
        return DemoKeys(
            admin=await keys.create("admin", "demo"),
            agent=await keys.create("agent", "desk"),
            page=await PublishableStore(engine).create("shop", settings),
        )
    finally:
        await engine.dispose()

"""`nextbest ids`: customers who were stored under ids that are not in their one form."""

import typer

from app.commands.log import with_state
from app.state import ApiState
from profiles.store_ids import OddId, mend_odd_ids, read_odd_ids
from storage.postgres import PATIENT_S, make_engine


def list_or_mend(mend: bool) -> None:
    """List ids that are not in their one form, with that form; with ``mend`` move what is stored under them there."""

    async def work(state: ApiState) -> list[OddId]:
        # The state's own engine gives up on statements that read all customers.
        engine = make_engine(str(state.settings.postgres_url), statement_s=PATIENT_S)
        try:
            return await (mend_odd_ids(engine, state.profiles.cache) if mend else read_odd_ids(engine))
        finally:
            await engine.dispose()

    found = with_state(work)
    for odd in found:
        # Escaped: control characters are what this is about.
        typer.echo(f"{odd.stored!a} -> {'nobody (removed)' if odd.normal is None else ascii(odd.normal)}")
    done = "mended" if mend else "to mend (nextbest ids --mend)"
    typer.echo(f"{len(found)} ids {done}")

"""Search for agents: what can be said, found by what they type."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.deps import Decider, State, problems
from app.api.schemas import answer_of
from app.api.scripts.schemas import FoundText, ScriptQuery, ScriptResults
from decisioning.errors import Invalid
from decisioning.treatments.store_search import clean_query, search_scripts
from storage import clock

router = APIRouter(prefix="/v1/scripts", tags=["scripts"])


@router.get("/search", responses=problems(404))
async def find_scripts(state: State, key: Decider, query: Annotated[ScriptQuery, Query()]) -> ScriptResults:
    """Script steps, objections with their answers, titles and messages of the offers that are live now.

    Texts that hold all of the words come first. `"in quotes"` means these words in a row, `-word` without it, `or`
    either. Words of texts in English and Spanish are found in all their forms, and the last word may be unfinished.
    """
    words = clean_query(query.q)
    if not words:
        raise Invalid("q", "is empty: type what the customer said, or what you want to say")
    catalogue = state.current_catalogue()
    channel = None if query.placement is None else catalogue.view(query.placement).placement.channel
    live = {offer.offer_id: offer.name for offer in catalogue.live_offers(clock.now_ms())}
    found = await search_scripts(state.engine, words, list(live), channel, query.language, query.limit)
    results = [answer_of(FoundText, text, offer_name=live[text.offer_id]) for text in found]
    return ScriptResults(results=results)

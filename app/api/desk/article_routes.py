"""General articles for agents, found by what they type."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from app.api.deps import Decider, State, problems
from app.api.desk.article_schemas import ArticleQuery, ArticleResults, FoundArticle
from app.api.schemas import answer_of
from decisioning.errors import Invalid, NotFound
from decisioning.treatments.article import Article
from decisioning.treatments.article_search import ArticleMatch, by_title, search_articles
from decisioning.treatments.store_search import clean_query
from storage import clock

router = APIRouter(prefix="/v1/desk", tags=["scripts"])


@router.get("/articles", responses=problems(404))
async def find_articles(
    state: State, key: Decider, query: Annotated[ArticleQuery, Query()]
) -> ArticleResults:
    """Find general articles, which belong to no offer: by words, by the reason that they answer, or by both.

    Articles with all of the words come first, then those with at least half of them. Case and accents do not count; a
    word is found by its first three letters or more. The catalogue in this process is searched, so it goes on while
    Postgres and Redis are away.
    """
    words = None if query.q is None else clean_query(query.q)
    if words is None and query.reason is None:
        raise Invalid("q", "is missing: type what the customer asks, or name a reason")
    if words == "":
        raise Invalid("q", "is empty: type what the customer asks")
    catalogue = state.current_catalogue()
    channel = None if query.placement is None else catalogue.view(query.placement).placement.channel
    if query.reason is not None and query.reason not in catalogue.reasons:
        raise NotFound("reason", query.reason)
    now_ms = clock.now_ms()

    def is_wanted(article: Article) -> bool:
        answers = query.reason is None or query.reason in article.reasons
        return answers and article.is_found(now_ms, channel, query.language)

    articles = catalogue.articles.values()
    if words is None:
        there = sorted(filter(is_wanted, articles), key=by_title)
        found = [ArticleMatch(article, every_word=True) for article in there[: query.limit]]
    else:
        names = {reason_id: reason.name for reason_id, reason in catalogue.reasons.items()}
        # Beside the event loop: after a change of the catalogue an index is made first.
        found = await asyncio.to_thread(search_articles, articles, words, names, query.limit, is_wanted)
    return ArticleResults(
        results=[answer_of(FoundArticle, m.article, every_word=m.every_word) for m in found]
    )

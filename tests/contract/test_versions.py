"""Old and new processes together: nothing that starts breaks what runs, and what Redis lacks is never a 500."""

import asyncio
from typing import Any

import pytest

from decisioning.model.degraded import DegradedReason
from storage.functions import OURS, library_code, load_functions
from tests.support.api import Nextbest, decide, problem_of, tell
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

LACKING = [DegradedReason.FUNCTIONS_UNAVAILABLE]
BROKEN = library_code().replace(
    "local function decide(keys, args)", "local function decide(keys, args)\n nil_()"
)


async def test_an_older_process_that_starts_changes_nothing(shop: Nextbest) -> None:
    redis: Any = shop.api.state.redis
    code = "#!lua name=nextbest\nredis.register_function('nb_decide', function() return 1 end)"
    await redis.function_load(code, replace=True)
    try:
        answer = await decide(shop.api, "ann")
        assert answer["degraded"] == []
        assert await tell(shop.api, answer["decision_id"], answer["offers"][0]["offer_id"], "accepted")
    finally:
        await redis.function_delete("nextbest")


async def test_without_functions_answers_are_degraded_by_name_until_they_are_loaded_again(
    shop: Nextbest,
) -> None:
    redis: Any = shop.api.state.redis
    known = await decide(shop.api, "cleo")
    lacking = 0
    for _ in range(5):
        await redis.function_flush()
        answers = await asyncio.gather(*(decide(shop.api, f"bob{n}") for n in range(20)))
        for answer in answers:
            assert answer["degraded"] in ([], LACKING)
            assert answer["offers"]
            lacking += answer["degraded"] == LACKING

        async def whole() -> bool:
            return bool((await decide(shop.api, "bob"))["degraded"] == [])

        await eventually(whole, "the functions to be loaded again")
    assert lacking
    assert (
        await tell(shop.api, known["decision_id"], known["offers"][0]["offer_id"], "presented") == "recorded"
    )


async def test_a_function_that_fails_degrades_and_is_no_500(shop: Nextbest) -> None:
    redis: Any = shop.api.state.redis
    known = await decide(shop.api, "dan")
    assert library_code() != BROKEN
    broken = BROKEN.replace(
        "local function feedback(keys, args)", "local function feedback(keys, args)\n nil_()"
    )
    assert broken.count("nil_()") == 2
    await redis.function_load(broken, replace=True)
    try:
        answer = await decide(shop.api, "eve")
        assert answer["degraded"] == LACKING
        assert answer["offers"]
        body = {"decision_id": known["decision_id"], "offer_id": known["offers"][0]["offer_id"]}
        response = await shop.api.call("POST", "/v1/feedback", json=body | {"outcome": "accepted"})
        problem_of(response, 503)
    finally:
        await load_functions(redis)
    assert await tell(shop.api, known["decision_id"], body["offer_id"], "accepted") == "recorded"
    assert OURS.code == library_code()

"""Consents and objections with source, time and proof: the newest counts, and its history can be shown."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.support.api import CSV, Instance, Nextbest, decide, problem_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

OFFERS = {"by_consent": "consent", "by_interest": "legitimate_interest"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(nextbest: Nextbest) -> AsyncIterator[Nextbest]:
    """Placements in ``web`` and ``email``, each with an offer on the basis of consent and one on that of interest."""
    api = nextbest.api
    await api.ok("PUT", "/v1/groups/cards", json={"name": "Cards", "goal": "grow"})
    for offer_id, basis in OFFERS.items():
        offer = {"name": "x", "group": "cards", "legal_basis": basis, "requires_consent": "ads"}
        await api.ok("PUT", f"/v1/offers/{offer_id}", json=offer)
        for channel in ("web", "email"):
            path = f"/v1/offers/{offer_id}/treatments/{channel}"
            await api.ok("PUT", path, json={"channel": channel, "title": "x"})
    for channel in ("web", "email"):
        body = {"channel": channel, "deadline_ms": 5000, "slots": 2}
        await api.ok("PUT", f"/v1/placements/{channel}", json=body)
    yield nextbest


def said(channel: str = "email", at: str | None = "2026-03-01T00:00:00Z", **more: Any) -> dict[str, Any]:
    """A consent, unless ``more`` says something else."""
    return {"purpose": "ads", "channel": channel, "given": True, "at": at, "source": "web form"} | more


def objection(channel: str = "email", at: str = "2026-03-01T00:00:00Z", **more: Any) -> dict[str, Any]:
    return said(channel, at, kind="objection", **more)


async def patch(api: Instance, who: str, *records: dict[str, Any]) -> Any:
    """State something of a customer, who has a record from then on."""
    if (await api.call("GET", f"/v1/customers/{who}")).status_code == 404:
        await api.ok("PUT", f"/v1/customers/{who}", json={"attributes": {"age": 41}})
    return await api.ok("PATCH", f"/v1/customers/{who}", json={"consent_records": list(records)})


async def offered(api: Instance, who: str, channel: str = "email") -> set[str]:
    """The offers that are made in a channel."""
    return {offer["offer_id"] for offer in (await decide(api, who, channel))["offers"]}


async def test_a_consent_has_source_time_and_proof_in_its_history(shop: Nextbest) -> None:
    api, path = shop.api, "/v1/customers/ann"
    found = await patch(api, "ann", said(proof="form 4711", expires_at="2999-03-01T00:00:00Z"))
    assert (found["attributes"], found["consents"]) == ({"age": 41}, {"ads": ["email"]})
    assert await offered(api, "ann") == set(OFFERS)
    await patch(api, "ann", objection(at="2026-04-01T00:00:00Z", source="branch", proof="letter"))
    assert await offered(api, "ann") == set()
    assert await offered(api, "ann", "web") == {"by_interest"}

    shown = await api.ok("GET", f"{path}/consents")
    assert (shown["consents"], shown["objections"]) == ({}, {"ads": ["email"]})
    last, first = shown["records"]
    assert (last["kind"], last["given"], last["source"], last["proof"]) == (
        "objection",
        True,
        "branch",
        "letter",
    )
    assert (last["before"], last["at"]) == (["email"], "2026-04-01T00:00:00Z")
    assert (first["before"], first["expires_at"]) == (None, "2999-03-01T00:00:00Z")
    assert first["author"]
    page = await api.ok("GET", f"{path}/consents", params={"limit": 1})
    rest = await api.ok("GET", f"{path}/consents", params={"before": page["next"]})
    assert [one["record_id"] for one in rest["records"]] == [first["record_id"]]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_newer_objection_beats_an_older_consent_whatever_comes_first(
    shop: Nextbest, order: tuple[int, int]
) -> None:
    who = f"order-{order[0]}"
    records = [said(at="2026-01-01T00:00:00Z"), objection(at="2026-02-01T00:00:00Z")]
    for place in order:
        await patch(shop.api, who, records[place])
    assert await offered(shop.api, who) == set()
    await patch(shop.api, who, said(at="2026-02-01T00:00:00Z"))  # at the same time: the objection holds
    assert await offered(shop.api, who) == set()
    await patch(shop.api, who, said(at="2026-02-01T00:00:01Z"))
    assert await offered(shop.api, who) == set(OFFERS)


async def test_an_objection_under_legitimate_interest_is_by_channel_and_can_be_lifted(shop: Nextbest) -> None:
    api = shop.api
    await patch(api, "lea", objection("email"))
    assert (await offered(api, "lea"), await offered(api, "lea", "web")) == (set(), {"by_interest"})
    await patch(api, "lea", objection("*", at="2026-03-02T00:00:00Z"))
    assert await offered(api, "lea", "web") == set()
    await patch(api, "lea", objection("*", at="2026-03-03T00:00:00Z", given=False))
    assert (await offered(api, "lea"), await offered(api, "lea", "web")) == (set(), {"by_interest"})


async def test_a_withdrawn_consent_is_no_objection(shop: Nextbest) -> None:
    await patch(shop.api, "kim", said(), said(at="2026-03-02T00:00:00Z", given=False))
    assert await offered(shop.api, "kim") == {"by_interest"}


async def test_an_expired_consent_is_no_consent(shop: Nextbest) -> None:
    api, ends = shop.api, datetime.now(UTC) + timedelta(seconds=2)
    await patch(api, "eve", said(expires_at=ends.isoformat()))
    assert await offered(api, "eve") == set(OFFERS)

    async def has_ended() -> bool:
        return await offered(api, "eve") == {"by_interest"}

    await eventually(has_ended, "the end of the consent")
    assert datetime.now(UTC) >= ends
    assert (await api.ok("GET", "/v1/customers/eve"))["consents"] == {}
    assert (await api.ok("GET", "/v1/customers/eve/export", role="ops"))["record"]["consents"] == {}
    # What is written next does not bring it back, and says of nobody that they withdrew it.
    await api.ok("PATCH", "/v1/customers/eve", json={"consents": {"news": ["web"]}})
    shown = await api.ok("GET", "/v1/customers/eve/consents")
    assert shown["consents"] == {"news": ["web"]}
    assert [(one["purpose"], one["given"]) for one in shown["records"]] == [("news", True), ("ads", True)]


async def test_what_is_read_can_be_put_again_and_changes_nothing(shop: Nextbest) -> None:
    api, path = shop.api, "/v1/customers/rob"
    record = said(expires_at="2999-01-01T00:00:00Z")
    body = {"attributes": {"age": 41}, "consents": {"news": ["web"]}, "consent_records": [record]}
    await api.ok("PUT", path, json=body)
    before = await api.ok("GET", f"{path}/consents")
    assert before["consents"] == {"news": ["web"], "ads": ["email"]}
    read = await api.ok("GET", path)
    await api.ok("PUT", path, json=read)
    await api.ok("PUT", path, json=read | {"consent_records": [record]})
    # In the full form alone, what is in force of others stays.
    await api.ok("PUT", path, json={"attributes": {"age": 41}, "consent_records": [record]})
    assert await api.ok("GET", f"{path}/consents") == before
    assert await end_of(shop, "rob") == {"ads": {"email": [32472144000000, False]}}


async def test_the_short_form_leaves_a_history_too(shop: Nextbest) -> None:
    api, path = shop.api, "/v1/customers/sue"
    await api.ok("PUT", path, json={"consents": {"ads": ["email", "web"]}})
    await api.ok("PATCH", path, json={"consents": {"ads": ["web"]}, "objections": {"ads": ["email"]}})
    content = "customer_id,consents.ads\nsue,none\ntom,email|!web\n"
    await api.ok("POST", "/v1/imports/customers", content=content, headers=CSV)
    shown = await api.ok("GET", f"{path}/consents")
    found = [(one["kind"], one["channel"], one["given"], one["before"]) for one in shown["records"]]
    assert found[0] == ("consent", "web", False, ["web", "!email"])
    assert sorted(found[1:3]) == [
        ("consent", "email", False, ["email", "web"]),
        ("objection", "email", True, ["email", "web"]),
    ]
    assert sorted(found[3:]) == [("consent", "email", True, None), ("consent", "web", True, None)]
    assert all(one["author"] and one["at"] for one in shown["records"])
    assert len((await api.ok("GET", "/v1/customers/tom/consents"))["records"]) == 2
    # A consent of before is no news, whatever the form of what was said later.
    await patch(api, "sue", said("email", at="2026-01-01T00:00:00Z"))
    assert await offered(api, "sue") == set()


async def test_consents_given_anew_in_the_short_form_have_no_end(shop: Nextbest) -> None:
    api, path = shop.api, "/v1/customers/uma"
    await patch(
        api, "uma", said(expires_at="2999-01-01T00:00:00Z"), said("web", expires_at="2999-01-01T00:00:00Z")
    )
    await api.ok("PATCH", path, json={"consents": {"ads": ["web"]}, "objections": {"ads": ["email"]}})
    await api.ok("PATCH", path, json={"consents": {"ads": ["email", "web"]}, "objections": {"ads": None}})
    assert await end_of(shop, "uma") == {"ads": {"web": [32472144000000, False]}}
    assert await offered(api, "uma") == set(OFFERS)


async def test_a_file_takes_the_full_form(shop: Nextbest) -> None:
    api = shop.api
    await api.ok(
        "PUT", "/v1/customers/file-1", json={"attributes": {"age": 41}, "consents": {"ads": ["web"]}}
    )
    content = (
        "customer_id,purpose,channel,kind,given,at,source,proof,expires_at\n"
        "file-1,ads,email,,true,2026-01-05T10:00:00Z,web form,form 1,2099-01-01\n"
        "file-1,ads,web,objection,TRUE,2099-01-05,branch,,\n"
        "file-2,ads,*,objection,true,2026-01-05,letter,,\n"
        "file-1,ads,fax,consent,true,2026-01-05,,,\n"
        "file-1,ads,web,maybe,true,2026-01-05,,,\n"
        "file-1,ads,web,consent,yes,2026-01-05,,,\n"
        "file-1,ads,web,objection,true,2026-01-05,,,2027-01-01\n"
        "file-1,ads,web,consent,true,2026-01-05,,,2025-01-01\n"
    )
    for again in range(2):
        answer = await api.ok("POST", "/v1/imports/consents", content=content, headers=CSV)
        assert (answer["loaded"], answer["refused"]) == (2, 6)
        fields = [(one["row"], one["field"]) for one in answer["refusals"]]
        assert fields == [
            (2, "at"),
            (4, "channel"),
            (5, "kind"),
            (6, "given"),
            (7, "expires_at"),
            (8, "expires_at"),
        ]
        shown = await api.ok("GET", "/v1/customers/file-1/consents")
        assert (shown["consents"], len(shown["records"])) == ({"ads": ["web", "email"]}, 2), again
    assert shown["records"][0]["proof"] == "form 1"
    # There was no record of this customer, and the objection holds.
    assert await offered(api, "file-2", "web") == set()
    assert (await api.ok("GET", "/v1/customers/file-2"))["objections"] == {"ads": ["*"]}


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (said(channel="fax"), "consent_records.0.channel"),
        (said(at="2999-01-01T00:00:00Z"), "consent_records.0.at"),
        (said(expires_at="2026-01-01T00:00:00Z"), "consent_records.0.expires_at"),
        (objection(expires_at="2999-01-01T00:00:00Z"), "consent_records.0.expires_at"),
        (said(given="yes"), "consent_records.0.given"),
        (said(proof="x" * 1001), "consent_records.0.proof"),
        (said(kind="wish"), "consent_records.0.kind"),
        (said(note="x"), "consent_records.0.note"),
    ],
)
async def test_what_cannot_be_stated_is_refused_by_name_and_changes_nothing(
    shop: Nextbest, record: dict[str, Any], field: str
) -> None:
    api = shop.api
    await api.ok("PUT", "/v1/customers/bad", json={"attributes": {"age": 1}})
    for method in ("PUT", "PATCH"):
        body = {"attributes": {"age": 2}, "consent_records": [record]}
        response = await api.call(method, "/v1/customers/bad", json=body)
        assert problem_of(response, 422)["errors"][0]["field"] == field
    assert (await api.ok("GET", "/v1/customers/bad"))["attributes"] == {"age": 1}
    assert (await api.ok("GET", "/v1/customers/bad/consents"))["records"] == []


async def test_the_history_is_in_the_export_of_a_person_and_goes_with_an_erasure(shop: Nextbest) -> None:
    api = shop.api
    await patch(api, "gone", said(proof="form 9"))
    export = await api.ok("GET", "/v1/customers/gone/export")
    assert [one["proof"] for one in export["consent_records"]] == ["form 9"]
    erased = await api.ok("POST", "/v1/customers/gone/erase", json={"reason": "asked"})
    assert erased["consent_records"] == 1
    assert (await api.ok("GET", "/v1/customers/gone/consents"))["records"] == []


async def test_a_record_of_the_history_cannot_be_changed(shop: Nextbest) -> None:
    await patch(shop.api, "fix", said())
    with pytest.raises(Exception, match="a record is not changed"):
        async with shop.api.state.engine.begin() as connection:
            await connection.execute(text("UPDATE consent_records SET given = false"))


async def end_of(shop: Nextbest, who: str) -> Any:
    """The ends of a customer's consents, as they are stored."""
    query = text("SELECT consent_ends FROM customers WHERE customer_id = :who")
    async with shop.api.state.engine.connect() as connection:
        return await connection.scalar(query, {"who": who})

"""Permissions of every route: with every role, without a key, and with invalid keys."""

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import text

from app.keys import ROLES, KeyNotFound, KeyStore, Role
from tests.support.api import Instance, Nextbest, operations_of, problem_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

READERS: set[Role] = {"ops", "scientist", "admin"}
ROLES_OF: dict[str, set[Role]] = {
    "decide": {"frontend", "agent", "ops", "admin"},
    "read_decision": READERS,
    "read_desk": {"frontend", "agent", "admin"},
    "record_feedback": {"frontend", "agent", "admin"},
    "record_feedback_batch": {"frontend", "admin"},
    "record_event": {"frontend", "admin"},
    "record_event_batch": {"frontend", "admin"},
    "record_segment_events": {"frontend", "admin"},
    "record_snowplow_events": {"frontend", "admin"},
    "record_cloudevents": {"frontend", "admin"},
    "simulate_catalog": {"ops", "admin"},
    "read_schema": READERS,
    "read_groups": READERS,
    "read_group": READERS,
    "put_group": {"ops", "admin"},
    "read_offers": READERS,
    "read_offer": READERS,
    "put_offer": {"ops", "admin"},
    "put_treatment": {"ops", "admin"},
    "read_treatments": READERS,
    "read_treatment": READERS,
    "read_placements": READERS,
    "read_placement": READERS,
    "put_placement": {"ops", "admin"},
    "put_customer": {"ops", "admin"},
    **{
        f"patch_{what}": {"ops", "admin"} for what in ("group", "offer", "treatment", "placement", "customer")
    },
    "merge_visitor": {"frontend", "ops", "admin"},
    "lift_signal": {"ops", "admin"},
    "read_customer": {"ops", "scientist", "admin"},
    "find_customers": {"agent", "ops", "admin"},
    "import_rows": {"ops", "admin"},
    "find_scripts": {"frontend", "agent", "ops", "admin"},
    "find_articles": {"frontend", "agent", "ops", "admin"},
    "read_acceptance": {"ops", "scientist", "admin"},
    "report_offers": {"ops", "scientist", "admin"},
    "report_offer_funnel": READERS,
    "report_contact_limits": READERS,
    "read_publishable_keys": {"admin"},
    "rotate_publishable_key": {"admin"},
    "rotate_customer_tokens": {"admin"},
    "report_calibration": READERS,
    "report_events": {"ops", "scientist", "admin"},
    "report_outcomes": {"ops", "scientist", "admin"},
    "report_without_offer": {"ops", "admin"},
    "report_interests": {"ops", "scientist", "admin"},
    "read_capacity_usage": {"ops", "scientist", "admin"},
    "read_live": {"ops", "scientist", "admin"},
    "report_holdout": {"ops", "scientist", "admin"},
    "read_alerts": {"ops", "scientist", "admin"},
    "read_firings": READERS,
    "count_firings": READERS,
    "read_firing": READERS,
    "send_firing": {"ops", "admin"},
    **{f"{verb}_dead_letters": {"ops", "admin"} for verb in ("read", "retry", "drop")},
    "read_capacity_value": {"ops", "scientist", "admin"},
    "read_capacity_hours": READERS,
    "read_drift": {"ops", "scientist", "admin"},
    "read_canaries": {"ops", "scientist", "admin"},
    "read_canary_course": READERS,
    "read_arms": {"ops", "scientist", "admin"},
    "read_selections": READERS,
    "ask_evaluation": {"scientist", "admin"},
    "read_evaluations": {"scientist", "admin"},
    "read_evaluation": {"ops", "scientist", "admin"},
    "ask_export": {"scientist", "admin"},
    "read_export": {"scientist", "admin"},
    "download_export": {"scientist", "admin"},
    "compare_policies": {"ops", "scientist", "admin"},
    "explain_decision": READERS,
    "replay_decision": READERS,
    "preview_rule": {"ops", "scientist", "admin"},
    "simulate_changes": {"ops", "admin"},
    "delete_group": {"ops", "admin"},
    "delete_offer": {"ops", "admin"},
    "delete_treatment": {"ops", "admin"},
    "delete_placement": {"ops", "admin"},
    "change_status": {"ops", "admin"},
    "read_trail": {"ops", "scientist", "admin"},
    "export_catalog": READERS,
    "read_warnings": {"ops", "scientist", "admin"},
    "diff_catalog": {"ops", "scientist", "admin"},
    "apply_catalog": {"ops", "admin"},
    "roll_back": {"ops", "admin"},
    "propose_catalog": {"ops", "admin"},
    **dict.fromkeys(("read_changesets", "read_changeset", "diff_changeset"), READERS),
    **{
        f"{verb}_changeset": {"ops", "admin"}
        for verb in (
            "create",
            "check",
            "submit",
            "approve",
            "reject",
            "withdraw",
            "rebase",
            "apply",
            "roll_back",
        )
    },
    **{f"{verb}_changeset_item": {"ops", "admin"} for verb in ("put", "patch", "delete")},
    "read_customer_told": {"ops", "scientist", "admin"},
    "read_customer_consents": {"ops", "scientist", "admin"},
    "read_customer_log": {"agent", "ops", "scientist", "admin"},
    "read_customer_lists": {"ops", "scientist", "admin"},
    "add_customer_note": {"agent", "ops", "admin"},
    "delete_customer_note": {"agent", "ops", "admin"},
    "read_customer_notes": {"agent", "ops", "admin"},
    "export_person": {"ops", "admin"},
    "read_registers": {"ops", "scientist", "admin"},
    "read_register": {"ops", "scientist", "admin"},
    "put_register": {"ops", "admin"},
    "delete_register": {"ops", "admin"},
    "erase_person": {"ops", "admin"},
    "readmit_person": {"ops", "admin"},
    "read_retention": {"ops", "admin"},
    "read_export_folders": {"ops", "admin"},
    "forget_export_folder": {"ops", "admin"},
    "start_retention": {"ops", "admin"},
    "read_privacy_trail": {"ops", "admin"},
    "read_suppressions": {"ops", "scientist", "admin"},
    "put_suppression": {"ops", "admin"},
    "delete_suppression": {"ops", "admin"},
    "register_policy": {"scientist", "admin"},
    "read_policies": {"ops", "scientist", "admin"},
    "read_versions": {"ops", "scientist", "admin"},
    "read_policy": {"ops", "scientist", "admin"},
    "retire_policy": {"scientist", "admin"},
    "delete_policy": {"scientist", "admin"},
    "revive_policy": {"scientist", "admin"},
    "read_stages": {"ops", "scientist", "admin"},
    "change_stage": {"scientist", "admin"},
    "roll_back_policy": {"ops", "scientist", "admin"},
    "put_controls": {"scientist", "admin"},
    "put_apprentice": {"scientist", "admin"},
    "put_guardrails": {"scientist", "admin"},
    "patch_guardrails": {"scientist", "admin"},
    "patch_autopilot": {"scientist", "admin"},
    "put_autopilot": {"scientist", "admin"},
    "delete_autopilot": {"ops", "scientist", "admin"},
}
KINDS = (
    "attribute",
    "segment",
    "contact_policy",
    "quiet_hours",
    "capacity",
    "override",
    "context_weight",
    "goal",
    "outcome",
    "reason",
    "signal",
    "alert",
    "event",
    "aggregate",
    "concept",
    "trigger",
    "holdout",
    "article",
)
ROLES_OF |= {f"{verb}_{kind}": READERS for kind in KINDS for verb in ("read", "read_all")}
ROLES_OF |= {f"{verb}_article": {"agent", *READERS} for verb in ("read", "read_all")}
ROLES_OF |= {f"{verb}_{kind}": {"ops", "admin"} for kind in KINDS for verb in ("put", "patch", "delete")}
OPEN = {"livez", "readyz", "metrics"}
PUBLIC = {"decide_publicly", "tell_publicly"}
"""Operations for publishable keys, which no other key opens (`test_public_api.py`)."""

PROTECTED = sorted(ROLES_OF)


def request_for(api: Instance, operation_id: str) -> tuple[str, str, dict[str, Any]]:
    """A plausible request: method, path, and arguments with a body if the operation has one."""
    method, path, operation = operations_of(api)[operation_id]
    of_id = "erased" if path.endswith("/erase") else "x"  # who is erased takes nothing any more
    for parameter in operation.get("parameters", []):
        value = {"kind": "customers", "version": "1", "note_id": "1", "test_id": "1"}.get(
            parameter["name"], of_id
        )
        path = path.replace(f"{{{parameter['name']}}}", value)
    arguments: dict[str, Any] = {}
    if "requestBody" in operation:
        content_type = next(iter(operation["requestBody"]["content"]))
        body = b"{}" if content_type == "application/json" else b"customer_id\n1\n"
        arguments = {"content": body, "headers": {"Content-Type": content_type}}
    return method, path, arguments


async def test_every_route_is_in_the_table(api: Instance) -> None:
    assert operations_of(api).keys() == ROLES_OF.keys() | OPEN | PUBLIC


async def test_everything_under_v1_needs_a_key(api: Instance) -> None:
    operations = operations_of(api)
    protected = {name for name, (_, path, _) in operations.items() if path.startswith("/v1/")}
    assert protected == ROLES_OF.keys()
    for name in protected:
        schemes = operations[name][2]["security"]
        assert [set(scheme) for scheme in schemes] == [{"bearer"}, {"apiKey"}]
        assert all(set(roles) == ROLES_OF[name] for scheme in schemes for roles in scheme.values())


async def test_a_front_end_asks_and_tells_and_finds_what_to_say() -> None:
    """Promised: the key of a front end opens what a front end needs, and neither the catalogue nor decisions by id."""
    assert {name for name, roles in ROLES_OF.items() if "frontend" in roles} == {
        *("decide", "record_feedback", "record_feedback_batch", "find_scripts", "read_desk", "merge_visitor"),
        "find_articles",
        *(
            f"record_{what}"
            for what in ("event", "event_batch", "segment_events", "snowplow_events", "cloudevents")
        ),
    }


async def test_an_agent_has_what_the_desk_needs_and_nothing_else() -> None:
    assert {name for name, roles in ROLES_OF.items() if "agent" in roles} == {
        *("decide", "record_feedback", "find_scripts", "read_desk", "read_customer_log"),
        *("find_articles", "read_article", "read_all_article"),
        "find_customers",
        *("read_customer_notes", "add_customer_note", "delete_customer_note"),
    }


async def test_an_agent_is_not_told_why_other_offers_were_not_chosen(shop: Nextbest) -> None:
    body = {"customer_id": "a1", "placement": "home"}
    explained = await shop.api.call("POST", "/v1/decisions", role="agent", json=body | {"explain": True})
    assert problem_of(explained, 403)["errors"][0]["field"] == "explain"
    assert (await shop.api.ok("POST", "/v1/decisions", role="agent", json=body))["offers"]


async def test_what_is_public_takes_publishable_keys_alone(api: Instance) -> None:
    operations = operations_of(api)
    public = {name for name, (_, path, _) in operations.items() if path.startswith("/public/")}
    assert public == PUBLIC
    for name in public:
        assert operations[name][2]["security"] == [{"publishable": []}, {"publishableHeader": []}]
        method, path, arguments = request_for(api, name)
        for role in (None, *ROLES):
            problem_of(await api.call(method, path, role=role, **arguments), 401)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("operation_id", PROTECTED)
async def test_roles(api: Instance, operation_id: str, role: Role) -> None:
    method, path, arguments = request_for(api, operation_id)
    response = await api.call(method, path, role=role, **arguments)
    if role in ROLES_OF[operation_id]:
        assert response.status_code in (200, 201, 202, 204, 404, 422), response.text
    else:
        assert role in problem_of(response, 403)["detail"]


@pytest.mark.parametrize("operation_id", PROTECTED)
async def test_without_a_key(api: Instance, operation_id: str) -> None:
    method, path, arguments = request_for(api, operation_id)
    response = await api.call(method, path, role=None, **arguments)
    problem_of(response, 401)
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "path", ["/v1/", "/v1/none", "/v1/offers/%2e%2e/%2e%2e/livez", "/v1%2Foffers", "/v1/docs"]
)
async def test_no_path_under_v1_tells_anything_without_a_key(api: Instance, path: str) -> None:
    problem_of(await api.call("GET", path, role=None), 401)


@pytest.mark.parametrize("path", ["//v1/offers", "/V1/offers", "/v1", "/v1offers", "/%2fv1/offers"])
async def test_paths_that_only_look_like_v1_lead_nowhere(api: Instance, path: str) -> None:
    assert (await api.call("GET", path, role=None)).status_code in (401, 404)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/openapi.json", "/docs"])
async def test_open_paths(api: Instance, path: str) -> None:
    assert (await api.call("GET", path, role=None)).status_code == 200


@pytest.mark.parametrize(
    "headers", ["X-API-Key: {}", "Authorization: Bearer {}", "authorization: bEaReR   {} "]
)
async def test_both_ways_to_send_a_key(api: Instance, headers: str) -> None:
    name, _, value = headers.format(api.keys["ops"]).partition(": ")
    assert (await api.call("GET", "/v1/offers", role=None, headers={name: value})).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "nb_admin_", "nb_admin_" + "A" * 43, "null", "*", "' OR 1=1 --", "x" * 5000),
        *("ключ".encode(), b"\xff\xfe", b"\xed\xa0\x80", "schlüssel".encode("latin-1")),
    ],
)
@pytest.mark.parametrize("name", ["X-API-Key", "Authorization"])
async def test_keys_that_are_none(api: Instance, name: str, value: str | bytes) -> None:
    value = value.encode() if isinstance(value, str) else value
    headers = {name: b"Bearer " + value if name == "Authorization" else value}
    problem_of(await api.call("GET", "/v1/offers", role=None, headers=headers), 401)


async def test_a_key_is_not_taken_from_elsewhere(api: Instance) -> None:
    key = api.keys["admin"]
    problem_of(await api.call("GET", f"/v1/offers?api_key={key}&key={key}", role=None), 401)
    problem_of(await api.call("GET", "/v1/offers", role=None, headers={"Cookie": f"X-API-Key={key}"}), 401)
    problem_of(await api.call("GET", "/v1/offers", role=None, headers={"Authorization": key}), 401)
    wrong_case = {"X-API-Key": key.swapcase()}
    problem_of(await api.call("GET", "/v1/offers", role=None, headers=wrong_case), 401)


async def test_the_bearer_token_comes_first(api: Instance) -> None:
    both = {"Authorization": "Bearer nothing", "X-API-Key": api.keys["admin"]}
    problem_of(await api.call("GET", "/v1/offers", role=None, headers=both), 401)


async def test_a_revoked_key_is_refused_in_every_instance(shop: Nextbest) -> None:
    store = KeyStore(shop.api.state.engine)
    key = await store.create("ops", "leaver")

    async def status(instance: Instance) -> int:
        response = await instance.call("GET", "/v1/offers", role=None, headers={"X-API-Key": key})
        return response.status_code

    async with shop.another() as other:

        async def taken() -> bool:
            return await status(shop.api) == await status(other) == 200

        async def refused() -> bool:
            return await status(shop.api) == await status(other) == 401

        await eventually(taken, "the key to be known in both instances")
        key_id = next(k.key_id for k in (await store.load()).values() if k.name == "leaver")
        assert await store.revoke(key_id)
        await eventually(refused, "the key to be refused in both instances")
        assert not await store.revoke(key_id)


async def test_a_rotated_key_is_taken_until_its_grace_is_over(shop: Nextbest) -> None:
    store = KeyStore(shop.api.state.engine)
    old = await store.create("ops", "turner")
    new = await store.rotate("turner", 3600)
    assert new != old

    async def status(key: str) -> int:
        response = await shop.api.call("GET", "/v1/offers", role=None, headers={"X-API-Key": key})
        return response.status_code

    async def both_taken() -> bool:
        return [await status(key) for key in (old, new)] == [200, 200]

    async def old_refused() -> bool:
        return [await status(key) for key in (old, new)] == [401, 200]

    await eventually(both_taken, "both keys to be taken")
    records = [record.key for record in await store.records() if record.key.name == "turner"]
    assert [(key.role, key.ends_at is None) for key in records] == [("ops", False), ("ops", True)]
    assert await store.revoke(records[0].key_id)
    await eventually(old_refused, "the old key to be refused")
    newest = await store.rotate(records[1].key_id, 0)
    assert [r.key.ends_at for r in await store.records() if r.key.name == "turner"] == [None]
    assert newest not in (old, new)


async def test_a_rotation_names_one_key(shop: Nextbest) -> None:
    store = KeyStore(shop.api.state.engine)
    with pytest.raises(KeyNotFound, match="no key 'nobody' in force"):
        await store.rotate("nobody", 0)
    for _ in range(2):
        await store.create("ops", "twins")
    with pytest.raises(KeyNotFound, match="2 keys have the name 'twins'"):
        await store.rotate("twins", 0)


async def test_the_last_use_of_a_key_is_noted_beside_requests(shop: Nextbest) -> None:
    state, store = shop.api.state, KeyStore(shop.api.state.engine)
    key = await store.create("ops", "worker bee")

    async def taken() -> bool:
        headers = {"X-API-Key": key}
        return (await shop.api.call("GET", "/v1/offers", role=None, headers=headers)).status_code == 200

    async def last_use() -> datetime | None:
        return next(r.last_used_at for r in await store.records() if r.key.name == "worker bee")

    assert await last_use() is None
    await eventually(taken, "the key to be known")
    await state.key_use.note(store)
    noted = await last_use()
    assert noted is not None
    assert await taken()
    await state.key_use.note(store)
    assert await last_use() == noted, "once a minute at most"


async def test_only_hashes_of_keys_are_stored(shop: Nextbest) -> None:
    secret = shop.api.keys["admin"].removeprefix("nb_admin_")
    dump = "SELECT string_agg(k::text || encode(k.hash, 'escape'), ' ') FROM api_keys k"
    async with shop.api.state.engine.connect() as connection:
        stored = str(await connection.scalar(text(dump)))
    assert "test admin" in stored
    assert secret not in stored


async def test_changes_carry_their_author(shop: Nextbest) -> None:
    group = {"name": "Signed", "goal": "serve"}
    await shop.api.ok("PUT", "/v1/groups/signed", json=group, role="ops")
    author = text("SELECT author FROM catalog_entries WHERE id = 'signed'")
    async with shop.api.state.engine.connect() as connection:
        assert await connection.scalar(author) == "test ops"

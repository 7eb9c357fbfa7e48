"""Migrations: there, back again, and what the database itself refuses."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest
from sqlalchemy.exc import SQLAlchemyError

import migrations
from app.embedded.servers import EmbeddedServers
from tests.support.databases import database_url, execute

INSERT = "INSERT INTO catalog_entries (version, kind, id, body, author) VALUES "


@pytest.fixture
def url(servers: EmbeddedServers) -> Iterator[str]:
    """An empty database."""
    execute(servers, "CREATE DATABASE nb_migrations")
    yield database_url(servers, "nb_migrations")
    execute(servers, "DROP DATABASE nb_migrations WITH (FORCE)")


def run(url: str, statement: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(work())


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    async def work() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    return asyncio.run(work())


def test_down_to_nothing_and_up_again_with_entries_of_all_kinds(url: str) -> None:
    migrations.upgrade(url)
    run(
        url,
        INSERT + "(1, 'offer', 'a', '{}', 'x'), (2, 'offer', 'a', null, 'x'), (3, 'goal', 'grow', '{}', 'x')",
    )
    migrations.downgrade(url, "0001")
    migrations.upgrade(url)
    migrations.downgrade(url)
    migrations.upgrade(url)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE catalog_entries SET reason = 'another'",
        "DELETE FROM catalog_entries",
        "TRUNCATE catalog_entries",
        "INSERT INTO catalog_entries (version, kind, id, body, author) VALUES (1, 'offer', 'a', '{}', 'y')"
        " ON CONFLICT (version, kind, id) DO UPDATE SET author = 'y'",
    ],
)
def test_the_audit_trail_only_grows(url: str, statement: str) -> None:
    migrations.upgrade(url)
    run(url, INSERT + "(1, 'offer', 'a', '{}', 'x')")
    with pytest.raises(asyncpg.RestrictViolationError, match="audit trail"):
        run(url, statement)
    run(url, INSERT + "(2, 'offer', 'a', null, 'x')")


def test_views_keep_their_readers_over_an_upgrade(url: str) -> None:
    migrations.upgrade(url, "0043")
    for view in ("nb_decisions", "nb_decided_offers"):
        run(
            url, f"GRANT SELECT ON {view} TO PUBLIC; CREATE VIEW own_{view} AS SELECT decision_id FROM {view}"
        )
    migrations.upgrade(url)
    for view in ("nb_decisions", "nb_decided_offers"):
        run(url, f"SELECT holdouts FROM {view}; SELECT decision_id FROM own_{view}")
        acl = rows(url, f"SELECT relacl::text FROM pg_class WHERE relname = '{view}'")
        assert ",=r/" in str(acl[0][0]), "everybody may read it still"
        run(url, f"DROP VIEW own_{view}")
    migrations.downgrade(url, "0043")
    migrations.upgrade(url)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE policy_changes SET reason = 'another'", "DELETE FROM policy_changes", "TRUNCATE policy_changes"],
)
def test_who_retired_a_policy_is_not_forgotten(url: str, statement: str) -> None:
    migrations.upgrade(url)
    run(url, "INSERT INTO policies (name, version, spec, author) VALUES ('spring', 1, '{}', 'x')")
    noted = "INSERT INTO policy_changes (name, version, change, author) VALUES ('spring', 1, 'retired', 'x')"
    run(url, noted)
    with pytest.raises(asyncpg.RestrictViolationError, match="audit trail"):
        run(url, statement)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        run(url, "DELETE FROM policies")
    run(url, noted)
    migrations.downgrade(url, "0009")
    migrations.upgrade(url)


def test_a_capacity_of_a_team_goes_on_counting_decisions_after_an_upgrade(url: str) -> None:
    migrations.upgrade(url)
    migrations.downgrade(url, "0020")
    run(
        url,
        INSERT
        + """(1, 'capacity', 'calls', '{"max": 1, "team": "desk"}', 'x'),
        (2, 'capacity', 'calls', '{"max": 3, "team": "desk"}', 'x'), (3, 'capacity', 'vouchers', '{"max": 2}', 'x'),
        (4, 'capacity', 'gone', '{"max": 2, "team": "desk"}', 'x'), (5, 'capacity', 'gone', null, 'x')""",
    )
    migrations.upgrade(url)
    newest = "SELECT version, id, body::text, author FROM catalog_entries WHERE version > 5 ORDER BY version"
    assert rows(url, newest) == [
        (6, "calls", '{"max": 3, "team": "desk", "counts": "decided"}', "upgrade"),
    ]
    migrations.downgrade(url, "0020")
    assert rows(url, newest)[1] == (7, "calls", '{"max": 3, "team": "desk"}', "upgrade")


def logged(decision_id: str, until_s: int, *told: tuple[str, str, str], policy: str = "random@1") -> str:
    """Statements that archive a decision for one offer as earlier versions did. ``told``: outcome, late, reward."""
    header = {"offers": [{"offer_id": "gold"}], "numbers": [1], "until_ms": until_s * 1000, "source": "live"}
    where = f"'web', '{policy}', 0, '1-1'"
    return (
        "INSERT INTO decisions (decision_id, decided_at, customer_id, placement, policy, bucket, position, header,"
        f" candidates, priors, grp) VALUES ('{decision_id}', '2026-01-01', 'ann', {where}, '{json.dumps(header)}',"
        " '', '', 'champion');"
    ) + "".join(
        "INSERT INTO outcomes (decision_id, decided_at, offer_id, offer_no, outcome, at_ms, recorded_ms, late, reward,"
        f" prior, placement, policy, bucket, position) VALUES ('{decision_id}', '2026-01-01', 'gold', 1, '{outcome}',"
        f" 1, 1, {late}, {reward}, 'NaN', {where});"
        for outcome, late, reward in told
    )


def test_answers_of_windows_that_earlier_versions_closed_count_as_closed(url: str) -> None:
    now_s = round(time.time())
    past, future = now_s - 3600, now_s + 3600
    migrations.upgrade(url, "0011")
    accepted, rejected, silent = (
        ("accepted", "false", "1"),
        ("rejected", "false", "0"),
        ("expired", "false", "0"),
    )
    run(
        url,
        logged("a", past, accepted)
        + logged("b", past, rejected)
        + logged("c", past, silent)
        + logged("d", past, ("accepted", "true", "null"))
        + logged("e", past, silent, ("accepted", "true", "null"))
        + logged("f", future, accepted)
        + logged("g", future),
    )
    migrations.upgrade(url)
    counts = "decided, accepted, rejected, ignored, late, accepted_closed, rejected_closed"
    found = rows(url, f"SELECT {counts} FROM acceptance WHERE policy = 'random@1'")
    assert found == [(7, 2, 1, 3, 2, 1, 1)]  # c and e ignored, and d, whose answer came too late
    closed = "SELECT decision_id, reward FROM outcomes WHERE outcome = 'closed' AND late ORDER BY 1"
    assert rows(url, closed) == [("a", 1.0), ("b", 0.0), ("d", None)]
    migrations.downgrade(url, "0011")
    assert rows(url, "SELECT decided, accepted, ignored FROM acceptance") == [(7, 2, 2)]


def test_consents_of_before_have_a_record_of_unknown_time_and_changes_of_earlier_builds_one_too(
    url: str,
) -> None:
    migrations.upgrade(url, "0039")
    consents = json.dumps({"ads": ["email", "!sms"], "old": []})
    run(url, f"INSERT INTO customers (customer_id, consents) VALUES ('ann', '{consents}'), ('bob', '{{}}')")
    migrations.upgrade(url)
    said = "SELECT kind, purpose, channel, given, stated_at IS NULL, before FROM consent_records ORDER BY record_id"
    assert sorted(rows(url, said), key=repr) == [
        ("consent", "ads", "email", True, True, None),
        ("objection", "ads", "sms", True, True, None),
        ("objection", "old", "*", True, True, None),
    ]
    # As a process of an earlier build writes it.
    run(url, """UPDATE customers SET consents = '{"ads": ["!*"]}' WHERE customer_id = 'ann'""")
    changed = rows(url, said + " OFFSET 3")
    assert sorted((kind, purpose, channel, given) for kind, purpose, channel, given, *_ in changed) == [
        ("consent", "ads", "email", False),
        ("objection", "ads", "*", True),
        ("objection", "ads", "sms", False),
        ("objection", "old", "*", False),
    ]
    assert [json.loads(str(row[5])) for row in changed if row[1] == "ads"] == [["email", "!sms"]] * 3
    run(url, "UPDATE customers SET attributes = '{\"age\": 1}'")
    assert len(rows(url, said)) == 7
    migrations.downgrade(url, "0039")
    migrations.upgrade(url)
    assert [row[:5] for row in rows(url, said)] == [("objection", "ads", "*", True, True)]


def test_a_consent_that_ends_is_none_after_a_downgrade(url: str) -> None:
    migrations.upgrade(url)
    consents = json.dumps({"ads": ["email", "web"], "news": ["sms"]})
    ends = json.dumps({"ads": {"email": [1, False]}, "news": {"sms": [1, True]}})
    run(
        url,
        f"INSERT INTO customers (customer_id, consents) VALUES ('ann', '{consents}'), ('bob', '{consents}')",
    )
    run(url, f"UPDATE customers SET consent_ends = '{ends}' WHERE customer_id = 'ann'")
    migrations.downgrade(url, "0039")
    found = {str(row[0]): row[1] for row in rows(url, "SELECT customer_id, consents::text FROM customers")}
    assert json.loads(str(found["ann"])) == {"ads": ["web"], "news": ["!sms"]}
    assert json.loads(str(found["bob"])) == json.loads(consents)
    assert rows(url, "SELECT consents::text FROM nb_customers WHERE customer_id = 'ann'") == [(found["ann"],)]


def test_customers_are_written_while_their_index_is_made_and_it_is_made_anew_after_a_failure(
    url: str,
) -> None:
    migrations.upgrade(url, "0042")

    async def interrupted() -> None:
        writing = await asyncpg.connect(url)
        await writing.execute("BEGIN")
        await writing.execute("INSERT INTO customers (customer_id) VALUES ('ann')")
        with ThreadPoolExecutor() as pool:
            migrating = pool.submit(migrations.upgrade, url, "0043")
            waiting = (
                "SELECT pid FROM pg_stat_activity"
                " WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"
            )
            other = await asyncpg.connect(url)
            while not (pid := await other.fetchval(waiting)):
                assert not migrating.done(), migrating.result()
                await asyncio.sleep(0.01)
            await other.execute("INSERT INTO customers (customer_id) VALUES ('bob')")
            await other.execute("SELECT pg_terminate_backend($1)", pid)
            with pytest.raises(SQLAlchemyError):
                migrating.result()
        for connection in (writing, other):
            await connection.close()

    asyncio.run(interrupted())
    indexes = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'customers_dates'::regclass"
    assert rows(url, indexes) == [(False,)]
    migrations.upgrade(url, "0043")
    assert rows(url, indexes) == [(True,)]


EVENT = (
    "INSERT INTO {table} (event_id, customer_id, type, occurred_at, recorded_ms, properties, contacts, bucket,"
    " position) VALUES ('{id}', 'ann', 'visit', '{at}', 1, '{{}}', '{{}}', 0, '1-1')"
)


def test_tables_are_written_while_their_indexes_are_made_and_a_failure_is_gone_on_from(url: str) -> None:
    migrations.upgrade(url, "0049")
    month = "CREATE TABLE events_2026_{} PARTITION OF events FOR VALUES FROM ('2026-{}-01') TO ('2026-{}-01')"
    run(url, month.format("01", "01", "02"))
    customer = "INSERT INTO customers (customer_id) VALUES ('{id}')"

    async def interrupted(index: str, revision: str, held: str, written: str) -> None:
        """Write in a transaction that the index waits for, and beside it; end the migration meanwhile."""
        writing, other = await asyncpg.connect(url), await asyncpg.connect(url)
        await writing.execute("BEGIN")
        await writing.execute(held)
        waiting = (
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            f" AND query LIKE 'CREATE INDEX CONCURRENTLY {index} %'"
        )
        with ThreadPoolExecutor() as pool:
            migrating = pool.submit(migrations.upgrade, url, revision)
            while not (pid := await other.fetchval(waiting)):
                assert not migrating.done(), migrating.result()
                await asyncio.sleep(0.01)
            await other.execute(written)
            await other.execute("SELECT pg_terminate_backend($1)", pid)
            with pytest.raises(SQLAlchemyError):
                migrating.result()
        for connection in (writing, other):
            await connection.close()

    for index, revision, held, written in (
        ("customers_of_household", "0050", customer.format(id="a"), customer.format(id="b")),
        (
            "trigger_firings_counted",
            "0051",
            "LOCK trigger_firings IN ROW EXCLUSIVE MODE",
            "UPDATE trigger_firings SET status = status",
        ),
        *(
            (
                f"{partition}_counted",
                "0051",
                EVENT.format(table=partition, id="a", at=at),
                EVENT.format(table="events", id="b", at=at),
            )
            for partition, at in (("events_2026_01", "2026-01-05"), ("events_default", "2020-01-05"))
        ),
    ):
        asyncio.run(interrupted(index, revision, held, written))
    migrations.upgrade(url, "0051")
    assert rows(url, "SELECT indexrelid FROM pg_index WHERE NOT indisvalid") == []
    found = rows(
        url,
        "SELECT c.relname FROM pg_class AS c WHERE c.relname ~ '_of_household$|_counted$|firings_newest$' ORDER BY 1",
    )
    assert {str(name) for (name,) in found} >= {
        "aliases_of_household",
        "customers_of_household",
        "events_2026_01_counted",
        "events_counted",
        "events_default_counted",
        "trigger_firings_counted",
    }
    assert ("trigger_firings_newest",) not in found
    run(url, month.format("02", "02", "03"))
    attached = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'events_counted'::regclass"
    assert rows(url, attached) == [(3,)]
    migrations.downgrade(url, "0049")
    migrations.upgrade(url)
    assert rows(url, attached) == [(3,)]


def test_events_are_counted_from_before_an_upgrade_and_after_it_whoever_archives(url: str) -> None:
    migrations.upgrade(url, "0051")
    month = "CREATE TABLE events_2026_01 PARTITION OF events FOR VALUES FROM ('{} 00:00Z') TO ('{} 00:00Z')"
    run(url, month.format("2026-01-01", "2026-02-01"))
    times = ("2026-01-05 10:00Z", "2026-01-05 10:14:59.999999Z", "2026-01-05 10:15Z", "1999-12-31 23:59Z")
    for n, at in enumerate(times):
        run(url, EVENT.format(table="events", id=n, at=at))
    migrations.upgrade(url)
    counts = (
        "SELECT to_char(slot AT TIME ZONE 'UTC', 'MM-DD HH24:MI'), events FROM event_counts ORDER BY slot"
    )
    assert rows(url, counts) == [("12-31 23:45", 1), ("01-05 10:00", 2), ("01-05 10:15", 1)]
    again = " ON CONFLICT DO NOTHING"
    for n, at in (*enumerate(times), (9, times[2])):
        run(url, EVENT.format(table="events", id=n, at=at) + again)
    run(url, "DELETE FROM events_default; DELETE FROM events WHERE event_id = '0'")
    assert rows(url, counts) == [("01-05 10:00", 1), ("01-05 10:15", 2)]
    migrations.downgrade(url, "0051")
    run(url, "DELETE FROM events WHERE event_id = '1'")
    run(url, EVENT.format(table="events", id=7, at=times[2]))
    migrations.upgrade(url)
    assert rows(url, counts) == [("01-05 10:15", 3)]


def test_processes_that_migrate_at_the_same_time_do_it_one_after_the_other(url: str) -> None:
    migrations.upgrade(url, "0042")
    work = [sys.executable, "-c", "import sys, migrations; migrations.upgrade(sys.argv[1])", url]
    processes = [subprocess.Popen(work) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]


def test_rights_to_documented_views_and_views_of_them_outlive_an_upgrade(url: str) -> None:
    migrations.upgrade(url, "0043")
    for view in ("nb_decisions", "nb_decided_offers"):
        run(url, f"GRANT SELECT ON {view} TO PUBLIC; CREATE VIEW my_{view} AS SELECT * FROM {view}")
    migrations.upgrade(url)
    granted = (
        "SELECT count(*) FROM information_schema.table_privileges"
        " WHERE grantee = 'PUBLIC' AND table_name LIKE 'nb_deci%'"
    )
    assert rows(url, granted) == [(2,)]
    assert rows(url, "SELECT holdouts FROM nb_decisions") == []

"""The service over real connections: several processes, keys of the command line, metrics, and broken HTTP."""

import contextlib
import http.client
import os
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.keys import ROLES
from tests.support.served import Served
from tests.support.waiting import DEADLINE_S, wait_until

CATALOGUE = "nextbest: 1\ngroups:\n  remote:\n    name: Remote\n    goal: grow\n"
IDLE_S = 6.0
MANY = 24
"""Connections, so many that both of two processes take some."""
JSON = "Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def served(postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running service in which no key was ever made."""
    service = Served(postgres_url, redis_url, tmp_path_factory.mktemp("served"))
    with service.running():
        yield service
    assert "Traceback" not in service.printed()
    assert "a defect" not in service.printed()


@pytest.fixture(scope="module")
def key(served: Served) -> str:
    """A key that may do all; the first one."""
    assert served.cli("keys", "list").stdout == ""
    for guess in ("", "admin", "nextbest", "changeme", "nb_admin_", "test"):
        assert served.get("/v1/offers", guess).status_code == 401
    made = served.make_key("admin")
    wait_until(lambda: everywhere(served, "/v1/offers", made, 200), "both processes to know the key")
    return made


def everywhere(served: Served, path: str, key: str, status: int) -> bool:
    """True if ``MANY`` connections, hence both processes, answer with this status."""
    return all(served.get(path, key).status_code == status for _ in range(MANY))


def raw(served: Served, request: bytes, parts: int = 1, *, finish: bool = True) -> bytes:
    """Send bytes, say that no more will come (``finish``), and read until the other side has had enough."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        try:
            for at in range(0, len(request), max(len(request) // parts, 1)):
                connection.sendall(request[at : at + max(len(request) // parts, 1)])
            if finish:
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            while data := connection.recv(65_536):
                answer += data
        except OSError:  # the other side has given up already
            return b""
    return answer


def metric(served: Served, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    text = served.get("/metrics").text
    total = 0.0
    for line in text.splitlines():
        found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if found and all(f'{label}="{value}"' in (found[1] or "") for label, value in labels.items()):
            total += float(found[2])
    return total


def put_shop(served: Served, key: str) -> None:
    """One offer and one placement, known to both processes."""
    for path, body in (
        ("groups/cards", {"name": "Cards", "goal": "grow"}),
        ("offers/gold", {"name": "Gold", "group": "cards"}),
        ("offers/gold/treatments/web", {"channel": "web", "title": "Gold"}),
        ("placements/home", {"channel": "web", "deadline_ms": 5000}),
    ):
        assert served.http.put(f"/v1/{path}", json=body, headers={"X-API-Key": key}).is_success, path
    wait_until(lambda: everywhere(served, "/v1/placements/home", key, 200), "both processes to know the shop")


def test_keys_are_printed_alone_and_once(served: Served, key: str) -> None:
    made = {}
    for role in ROLES:
        done = served.cli("keys", "create", "--role", role, "--name", f"the {role}s")
        assert (done.returncode, done.stderr) == (0, "")
        assert re.fullmatch(rf"nb_{role}_[A-Za-z0-9_-]{{43}}\n", done.stdout)
        made[role] = done.stdout.strip()
    listed = served.cli("keys", "list").stdout
    for role in ROLES:
        path = "/v1/desk" if role in ("frontend", "agent") else "/v1/offers"
        wait_until(
            partial(everywhere, served, path, made[role], 200),
            f"both processes to know the key of {role}",
        )
        assert re.search(
            rf"^[0-9a-f]+ +{role} +the {role}s +made \d{{4}}-\S+ \S+  (never used|used \d{{4}}-\S+ \S+)$",
            listed,
            re.MULTILINE,
        )
        assert made[role][-20:] not in listed
        assert made[role] not in served.printed()


def test_a_revoked_key_is_refused_by_all_processes(served: Served, key: str) -> None:
    made = served.make_key("ops")
    wait_until(lambda: everywhere(served, "/v1/offers", made, 200), "both processes to know the key")
    listed = served.cli("keys", "list").stdout.splitlines()
    key_id = next(line.split()[0] for line in listed if line.split()[1:3] == ["ops", "ops"])
    assert served.cli("keys", "revoke", key_id).returncode == 0
    wait_until(lambda: everywhere(served, "/v1/offers", made, 401), "both processes to refuse the key")
    assert everywhere(served, "/v1/offers", key, 200)
    again = served.cli("keys", "revoke", key_id)
    assert again.returncode == 1
    assert "no key" in again.stderr


def test_metrics_add_up_over_all_processes(served: Served, key: str) -> None:
    put_shop(served, key)
    before = metric(served, "nextbest_decisions_total", placement="home")
    failed = metric(served, "nextbest_requests_total", route="/v1/decisions", status="404")
    archived = metric(served, "nextbest_archived_total", type="decided")
    for number in range(40):  # each over a connection of its own: both processes get some
        for placement in ("home", "nowhere") if number < 10 else ("home",):
            response = served.http.post(
                "/v1/decisions",
                json={"customer_id": f"c{number}", "placement": placement},
                headers={"X-API-Key": key},
            )
            assert response.status_code == (200 if placement == "home" else 404)
    for _ in range(8):
        assert metric(served, "nextbest_decisions_total", placement="home") == before + 40
        assert metric(served, "nextbest_requests_total", route="/v1/decisions", status="404") == failed + 10
    assert metric(served, "nextbest_request_seconds_count", route="/v1/decisions") >= 50
    wait_until(
        lambda: metric(served, "nextbest_archived_total", type="decided") == archived + 40,
        "all decisions to be archived",
    )
    processes = {path.stem.rpartition("_")[2] for path in served.metrics.glob("counter_*.db")}
    assert len(processes) >= 3  # two of the API and the worker


def forked(served: Served) -> dict[int, psutil.Process]:
    """The API processes, by their number: those that have the command line of their parent."""
    found = {}
    for process in psutil.Process(served._process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.cmdline() == psutil.Process(process.ppid()).cmdline() != []:
                found[process.pid] = process
    return found


def test_a_process_that_is_lost_is_replaced_by_another_that_is_forked(served: Served, key: str) -> None:
    def counted() -> float:
        return metric(served, "nextbest_requests_total", route="/v1/offers", status="200")

    assert everywhere(served, "/v1/offers", key, 200)
    before, were = forked(served), counted()
    assert len(before) == 2
    assert len({process.ppid() for process in before.values()}) == 1
    (lost, process), (stays, _) = before.items()
    process.kill()

    def is_replaced() -> bool:
        now = forked(served).keys()
        return len(now) == 2 and stays in now and lost not in now

    wait_until(is_replaced, "a process in place of the one that was lost", explain=served.printed)
    wait_until(lambda: everywhere(served, "/v1/offers", key, 200), "both processes to answer")
    assert counted() >= were + MANY, "what the lost one had counted is not lost"


def test_processes_end_with_the_one_that_forked_them(served: Served, key: str) -> None:
    before = forked(served)
    (parent,) = {process.ppid() for process in before.values()}
    psutil.Process(parent).kill()
    psutil.wait_procs(before.values(), DEADLINE_S)
    assert not any(process.is_running() for process in before.values())
    wait_until(lambda: len(forked(served)) == 2, "others in their place", explain=served.printed)

    def is_answering() -> bool:
        try:
            return everywhere(served, "/v1/offers", key, 200)
        except httpx.TransportError:
            return False

    wait_until(is_answering, "both processes to answer", explain=served.printed)


def test_metrics_have_no_labels_that_callers_make_up(served: Served, key: str) -> None:
    for path in ("/v1/offers/made-up", "/v1/made-up", "/made-up"):
        served.http.request("PROPFIND", path, headers={"X-API-Key": key})
        served.get(path, key)
    text = served.get("/metrics").text
    assert "made-up" not in text
    assert "PROPFIND" not in text
    assert metric(served, "nextbest_requests_total", method="other") >= 3


BROKEN = {
    "nothing": b"\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "HTTP/3.0": b"GET /livez HTTP/3.0\r\n\r\n",
    "unknown method": b"NONSENSE /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL in the path": b"GET /v1/offers/\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "not ASCII in the path": b"GET /v1/offers/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "line break in a header": b"GET /livez HTTP/1.1\r\nHost: x\r\nA: b\nc\r\n\r\n",
    "space before the colon": b"POST /v1/decisions HTTP/1.1\r\nContent-Length : 5\r\n\r\nabcde",
    "two lengths": b"POST /v1/decisions HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "negative length": b"POST /v1/decisions HTTP/1.1\r\nContent-Length: -1\r\n\r\nab",
    "endless length": b"POST /v1/decisions HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nab",
    "chunks that are none": b"POST /v1/decisions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
    "unknown coding": b"POST /v1/decisions HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", BROKEN.values(), ids=BROKEN.keys())
def test_broken_requests_are_refused(served: Served, request_bytes: bytes) -> None:
    answer = raw(served, request_bytes)
    status = re.match(rb"HTTP/1\.[01] (\d+)", answer)
    assert status is None or status[1] in (b"400", b"401", b"404", b"405", b"413", b"505"), answer
    assert served.get("/livez").status_code == 200


def test_no_request_is_hidden_in_another(served: Served, key: str) -> None:
    """With both lengths given, a proxy and we could disagree where the body ends."""
    hidden = (
        f"PUT /v1/groups/hidden HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n{JSON}Content-Length: 32\r\n\r\n"
    )
    hidden += '{"name": "Hidden","goal":"grow"}'
    head = f"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n{JSON}"
    for lengths in (
        f"Content-Length: {len(hidden) + 5}\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: identity, chunked\r\nContent-Length: 5\r\n",
    ):
        answer = raw(served, f"{head}{lengths}\r\n0\r\n\r\n{hidden}".encode())
        assert b"200" not in answer[:15]
        assert b" 201 " not in answer
    assert served.get("/v1/groups/hidden", key).status_code == 404


def test_bodies_in_pieces_and_cut_off(served: Served, key: str) -> None:
    body = b'{"customer_id": "c", "placement": "none"}'
    head = f"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n{JSON}Content-Length: "
    whole = f"{head}{len(body)}\r\nConnection: close\r\n\r\n".encode() + body
    assert raw(served, whole, parts=20, finish=False).startswith(b"HTTP/1.1 404")
    cut_off = raw(served, f"{head}{len(body) + 50}\r\n\r\n".encode() + body)
    assert not re.match(rb"HTTP/1\.1 [25]", cut_off)


def test_a_body_too_large_is_refused_at_once(served: Served, key: str) -> None:
    head = f"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n{JSON}Content-Length: 99999999\r\n\r\n"
    assert raw(served, head.encode()).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 5_000_000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 500_000 + b"\r\n",
        b"GET /" + b"a" * 5_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"B" * 5_000_000,
    ],
    ids=["value", "lines", "path", "name"],
)
def test_a_head_without_end_is_given_up(served: Served, head: bytes) -> None:
    answer = raw(served, head)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")
    assert served.get("/livez").status_code == 200


def test_heads_are_told_from_bodies(served: Served, key: str) -> None:
    """A body may be far longer than a head, and the next request on the connection has a head of its own."""
    headers = {"X-API-Key": key, "A": "b" * 30_000, "Content-Type": "application/json"}
    with httpx.Client(base_url=served.url, headers=headers) as http:
        for _ in range(4):
            assert http.post("/v1/decisions", content=b" " * 300_000).status_code == 422
            assert http.get("/livez").status_code == 200
    one = b"GET /livez HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 30_000 + b"\r\n\r\n"
    last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert raw(served, one * 20 + last, finish=False).count(b"HTTP/1.1 200") == 21


def test_an_idle_connection_outlasts_what_clients_keep_it_for(served: Served) -> None:
    """httpx keeps one for 5 s: a server that closes it then may do so while a request is under way."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    try:
        connection.connect()
        first = connection.sock
        for pause_s in (0.0, IDLE_S):
            time.sleep(pause_s)
            connection.request("GET", "/livez")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            assert connection.sock is first
    finally:
        connection.close()


def test_a_taken_port_is_named(served: Served, tmp_path: Path) -> None:
    done = served.cli("up")
    assert done.returncode == 2
    assert str(served.port) in done.stderr
    assert "NEXTBEST_PORT" in done.stderr


def test_bodies_that_are_never_finished_end_and_leave_the_service_alone(served: Served, key: str) -> None:
    """200 at once, of 0.9 MB each: more than the processes may take for such bodies together."""
    head = (
        f"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n{JSON}Content-Length: 950000\r\n\r\n"
    )
    begun = head.encode() + b'{"customer_id": "' + b"x" * 900_000
    with ThreadPoolExecutor(200) as pool:
        answers = [
            answer for answer in pool.map(lambda _: raw(served, begun, finish=False), range(200)) if answer
        ]
    statuses = Counter(answer.split(b" ", 2)[1] for answer in answers)
    assert statuses.keys() <= {b"408", b"503"}
    assert statuses[b"408"] > 0
    # Nobody waits for what will not come: neither does the service.
    assert all(b"connection: close" in answer.lower() for answer in answers)
    assert served.get("/livez").status_code == 200
    assert everywhere(served, "/v1/offers", key, 200)


def test_catalogues_and_files_are_brought_in_from_anywhere(
    served: Served, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an address and a key, and with no database, no other settings and no folder of its own."""
    keys = tmp_path / "key"
    keys.write_text(f"{key}\n", encoding="utf-8")
    for name in [name for name in os.environ if name.startswith("NEXTBEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def nextbest(*words: object, status: int = 0) -> Result:
        there = ["--url", served.url, "--key-file", str(keys)]
        done = CliRunner().invoke(app, [*map(str, words), *there])
        assert done.exit_code == status, done.output
        return done

    file = tmp_path / "catalogue.yaml"
    file.write_text(CATALOGUE, encoding="utf-8")
    assert "1 added: groups.remote" in nextbest("catalog", "diff", file, status=1).stdout
    nextbest("catalog", "apply", file, "--yes", "--reason", "from afar")
    assert "no changes\n" in nextbest("catalog", "diff", file).stdout
    assert ": from afar\n" in nextbest("catalog", "history", "--limit", 1).stdout
    version = int(nextbest("catalog", "history", "--limit", 1).stdout.split()[0])

    offer = "offers:\n  afar: {name: Afar, group: remote, treatments: {web: {channel: afar, title: Afar}}}\n"
    place = "placements:\n  afar: {channel: afar}\n  far: {channel: afar}\n"
    file.write_text(CATALOGUE + place, encoding="utf-8")
    nextbest("catalog", "apply", file, "--yes")
    customers = tmp_path / "customers.csv"
    customers.write_text("customer_id,age,town\nafar-1,41,\n\nafar-2,\x00,\x00\n", encoding="utf-8")
    done = nextbest("import", "customers", customers, status=1)
    assert "customers: 1 of 2 rows loaded, 1 refused" in done.stdout
    for line, field in zip(done.stderr.splitlines(), ("age", "town"), strict=True):
        assert line.startswith(f"{customers}:4: customers.afar-2: {field}: contains the character NUL")
    customers.write_text("id,age,age\n", encoding="utf-8")
    assert (
        f"{customers}:1: age: there are two columns 'age'"
        in nextbest("import", "customers", customers, status=1).stderr
    )
    scores = tmp_path / "scores.csv"
    scores.write_text("customer,offer_id,propensity\n", encoding="utf-8")
    said = nextbest("import", "propensities", scores, status=1).stderr.splitlines()
    assert said[0] == f"nextbest: {scores} has 2 mistakes; nothing was changed"
    assert said[1].startswith(f"{scores}:1: customer_id: the column 'customer_id' is missing")
    assert said[2].startswith(f"{scores}:1: customer: the column 'customer' has no meaning here")

    file.write_text(CATALOGUE + place + offer, encoding="utf-8")
    shown = nextbest("catalog", "simulate", file, "--placement", "afar").stdout
    assert "without any offer: 1 -> 0\n" in shown
    assert "    afar: 0 -> 1 (+1)\n" in shown
    unsaid = nextbest("catalog", "simulate", file, status=1).stderr
    assert "placement: say which one: there are afar, far" in unsaid

    wrong = CATALOGUE.replace("goal: grow", "gaol: grow") + offer.replace("group: remote", "group: nowhere")
    file.write_text(wrong, encoding="utf-8")
    for words in (["diff", file], ["apply", file, "--yes"], ["simulate", file, "--placement", "afar"]):
        said = nextbest("catalog", *words, status=1).stderr.splitlines()
        assert said[0] == f"nextbest: {file} has 2 mistakes; nothing was changed"
        assert said[1].startswith(f"{file}:5: groups.remote: gaol: there is no 'gaol'")
        assert said[2].startswith(f"{file}:7: offers.afar: group: there is no group 'nowhere'")

    assert "- placements.afar" in nextbest("catalog", "rollback", version, "--reason", "home again").stdout
    copy = tmp_path / "copy.yaml"
    nextbest("catalog", "export", copy)
    assert "remote:" in copy.read_text(encoding="utf-8")
    keys.write_text("nb_ops_none", encoding="utf-8")
    refused = nextbest("catalog", "export", status=1).stderr
    assert "does not know the key" in refused
    assert "nb_ops_none" not in refused

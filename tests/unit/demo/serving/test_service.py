"""One demo at a time, in a folder of its own, on a port that is free; and the catalogue it creates."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo import purchases, steering
from demo.client import ApiClient, DemoError
from demo.journey import Journey
from demo.load import catalogue_requests, create_catalogue
from demo.offers import build_offers
from demo.serving.service import choose_port, find_free_port, fresh_folder, tail
from tests.support.demo_service import TODAY, FakeService


def test_what_a_former_demo_left_is_removed(tmp_path: Path) -> None:
    with fresh_folder(tmp_path / "var") as folder:
        (folder / "old").write_text("x")
    with fresh_folder(tmp_path / "var") as folder:
        assert not (folder / "old").exists()


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("x")
    with pytest.raises(DemoError, match="was not made by a demo"), fresh_folder(tmp_path):
        pass
    assert (tmp_path / "demo" / "thesis.txt").exists()


def test_a_second_demo_is_refused_while_one_runs(tmp_path: Path) -> None:
    with fresh_folder(tmp_path) as folder:
        (folder / "mine").touch()
        with pytest.raises(DemoError, match="is running"), fresh_folder(tmp_path):
            pass
        assert (folder / "mine").exists()


def test_servers_of_a_killed_demo_are_stopped_before_their_data_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[Path] = []

    @contextmanager
    def servers(folder: Path) -> Iterator[None]:
        yield
        stopped.append(folder)
        assert (folder / "servers.json").exists()

    monkeypatch.setattr("app.embedded.servers.EmbeddedServers", servers)
    with fresh_folder(tmp_path) as folder:
        (folder / "servers.json").write_text("{}")
    with fresh_folder(tmp_path) as folder:
        assert stopped == [folder]
        assert not (folder / "servers.json").exists()


def test_a_taken_port_is_replaced() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        other = find_free_port("127.0.0.1", port)
        assert other != port
        assert find_free_port("127.0.0.1", other) == other


def test_which_port_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEXTBEST_PORT", raising=False)
    monkeypatch.delenv("PORT", raising=False)
    assert choose_port(8000) == 8000
    monkeypatch.setenv("PORT", "9000")
    assert choose_port(8000) == 9000
    monkeypatch.setenv("NEXTBEST_PORT", "9100")
    assert choose_port(9100) == 9100
    monkeypatch.delenv("NEXTBEST_PORT")
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(DemoError, match="PORT='http' is not a port"):
        choose_port(8000)


def test_only_the_end_of_a_log_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    assert tail(log) == ""
    log.write_text("\n".join(f"line {number} " + "x" * 900 for number in range(50)))
    lines = tail(log).splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("line 40")
    assert max(map(len, lines[:-1])) == 300


async def test_the_catalogue_is_created_in_an_order_that_works(journey: Journey) -> None:
    offers = build_offers(journey, TODAY)
    service = FakeService([])
    seen: list[tuple[int, int]] = []
    async with service.client() as http:
        count = await create_catalogue(
            ApiClient(http), offers, lambda done, total: seen.append((done, total))
        )
    declared = (steering.before_offers(), purchases.before_offers(), steering.after_offers())
    assert count == len(service.puts) == 3 + 27 * 4 + 4 + sum(len(list(puts)) for puts in declared)
    assert seen[-1] == (count, count)
    known: set[str] = set()
    for path, body in service.puts:
        parts = path.strip("/").split("/")
        if body.get("offer") is not None:
            assert body["offer"] in known
        if body.get("group") is not None:
            assert body["group"] in known
        if parts[-2] == "treatments":
            assert parts[2] in known
        known.add(parts[-1])
    channels = {body["channel"] for path, body in catalogue_requests(offers) if "/placements/" in path}
    assert channels == {"web", "agent", "mail"}

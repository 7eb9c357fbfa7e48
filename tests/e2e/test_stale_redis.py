"""A Redis that comes back older than it was: no limit is exceeded meanwhile, worker or not."""

from functools import partial

import httpx
import pytest

from app.embedded.servers import EmbeddedServers
from tests.support.installation import Api, hardy_servers, installed, place, publish
from tests.support.truth import Stores, look, wait_caught_up
from tests.support.waiting import wait_until

CUSTOMERS = 20


def ask_all(api: Api) -> int:
    """Ask for each customer; return how many got the offer that they may have once a day."""
    answers = [api.decide(f"c{number}")["offers"] for number in range(CUSTOMERS)]
    return sum(offer["offer_id"] == "once" for offers in answers for offer in offers)


def answers_again(api: Api) -> bool:
    """True if a process has found Redis again."""
    try:
        return bool(api.http.get("/readyz").json()["checks"]["redis"] == "ok")
    except httpx.TransportError:
        return False


def gives_limited(api: Api, newcomer: list[int]) -> bool:
    """True if customers who never got it get the offer."""
    newcomer.append(len(newcomer))
    return any(o["offer_id"] == "once" for o in api.decide(f"newcomer-{len(newcomer)}")["offers"])


@pytest.mark.parametrize("has_worker", [True, False])
def test_no_limit_is_exceeded_by_a_redis_from_an_older_file(
    tmp_path_factory: pytest.TempPathFactory, has_worker: bool
) -> None:
    folder = tmp_path_factory.mktemp("installation")
    with hardy_servers() as servers, installed(*servers.urls, folder) as installation:
        newcomers: list[int] = []
        apis = [installation.serve(), installation.serve()]
        worker = installation.work()
        for api in apis:
            api.wait()
        publish(apis[0], ["once"], limits=[{"max": 1, "window_s": 86_400}])
        publish(apis[0], ["always"])
        place(apis[0], slots=2)
        wait_until(lambda: gives_limited(apis[0], newcomers), "the worker to find Redis whole")
        wait_caught_up(installation)
        if not has_worker:
            worker.kill()
        older = keep_file(servers)
        assert ask_all(apis[0]) == CUSTOMERS
        if has_worker:
            wait_caught_up(installation)
        servers.kill_redis()
        put_file_back(servers, older)
        servers.start_redis()
        for api in apis:
            wait_until(partial(answers_again, api), "the API to find Redis")
        # By whichever process: the one that gave it, and one that knows nothing of that.
        assert [ask_all(api) for api in apis] == [0, 0]
        if not has_worker:
            worker = installation.work()
        wait_until(
            lambda: gives_limited(apis[0], newcomers),
            "offers with limits to be given again",
            explain=worker.printed,
        )
        assert [ask_all(api) for api in apis] == [0, 0]


def keep_file(servers: EmbeddedServers) -> bytes:
    """The log file of Redis as it is now."""
    (file,) = (servers.data_dir / "valkey" / "appendonlydir").glob("*.incr.aof")
    return file.read_bytes()


def put_file_back(servers: EmbeddedServers, older: bytes) -> None:
    """Let Redis have been stopped earlier."""
    folder = servers.data_dir / "valkey" / "appendonlydir"
    (file,) = folder.glob("*.incr.aof")
    assert len(older) < file.stat().st_size
    file.write_bytes(older)


def test_a_worker_that_is_started_at_a_full_redis_drains_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without that, nothing that has to be learned and archived would ever leave a Redis at ``maxmemory``."""
    folder = tmp_path_factory.mktemp("installation")
    with hardy_servers() as servers, installed(*servers.urls, folder) as installation:
        api, worker = installation.serve(), installation.work()
        api.wait()
        publish(api, ["always"])
        place(api)
        decided = api.decide("early")
        wait_caught_up(installation)
        worker.kill()
        decisions = [api.decide(f"c{number}") for number in range(30)]
        for decision in decisions:
            assert api.feedback(decision["decision_id"], "always", "accepted") == "recorded"

        async def fill(found: Stores) -> None:
            used = (await found.redis.info("memory"))["used_memory"]
            await found.redis.config_set("maxmemory", used // 2)

        look(installation, fill)
        assert api.decide("refused")["degraded"] == ["contact_history_unavailable"]
        worker = installation.work()
        wait_caught_up(installation, explain=worker.printed)

        async def archived(found: Stores) -> set[str]:
            rows = await found.rows("SELECT decision_id FROM outcomes WHERE outcome = 'accepted'")
            return {row.decision_id for row in rows}

        assert look(installation, archived) == {decision["decision_id"] for decision in decisions}
        assert decided["decision_id"] not in look(installation, archived)

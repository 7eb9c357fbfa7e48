"""The arena is fair, its streams are what they say, and the page says what was measured."""

import dataclasses
import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandits.conformance.scenarios import fingerprint
from bandits.policy import PolicySpec
from benchmarks.learning import __main__ as command
from benchmarks.learning import arena, entrants, measure, real, report, worlds
from benchmarks.learning.arena import Score, play
from benchmarks.learning.ours import Ours
from benchmarks.learning.report import Row, Seeds
from benchmarks.learning.rounds import Choice, Entrant, Round, Rounds, Stream
from benchmarks.machine import BenchError

KEYS = {"stream", "policy", "ours", "seeds", "mean_reward", "ci95", "us_per_decision", "us_per_update"}
ALL_WORLDS = pytest.mark.parametrize("stream", worlds.WORLDS, ids=lambda stream: stream.name)


class Recorder:
    """Chooses the offers in turn, and keeps what it is told."""

    def __init__(self) -> None:
        self.now = -1
        self.offers: list[list[int]] = []
        self.learned: list[tuple[int, int, int, float]] = []

    def choose(self, now: Round) -> Choice:
        """The round's number modulo the number of offers."""
        self.now = now.number
        self.offers.append(now.offers.tolist())
        return Choice(int(now.offers[now.number % len(now.offers)]), 1.0)

    def logged(self, now: Round, offer: int, probability: float) -> Choice:
        """As it was."""
        return Choice(offer, probability)

    def learn(self, then: Round, choice: Choice, reward: float) -> None:
        """Remember when it was told, of which round, which offer and reward."""
        self.learned.append((self.now, then.number, choice.offer, reward))


def recorded(rounds: Rounds) -> tuple[Recorder, Score]:
    recorder = Recorder()
    (score,) = play(rounds, (Entrant("recorder", False, lambda *_: recorder),), 0)
    return recorder, score


def short(rounds: Rounds, count: int) -> Rounds:
    return measure.first(rounds, count)


def test_every_round_is_played_and_taught_once() -> None:
    count = 2 * arena.TURN + 7
    rounds = short(worlds.logistic(0), count)
    recorder, score = recorded(rounds)
    offers = np.arange(count) % rounds.offers
    assert [(then, offer) for _, then, offer, _ in recorder.learned] == list(enumerate(offers.tolist()))
    assert [r for *_, r in recorder.learned] == rounds.rewards[np.arange(count), offers].tolist()
    assert score.rewards == rounds.expected[np.arange(count), offers].tolist()
    assert (score.decisions, score.updates) == (count, count)
    assert score.us_per_decision > 0


def test_delayed_outcomes_come_late_and_the_last_ones_never() -> None:
    recorder, _ = recorded(dataclasses.replace(short(worlds.logistic(0), 50), delay=30))
    assert [(now, then) for now, then, *_ in recorder.learned] == [(t + 30, t) for t in range(20)]


def test_an_offer_can_be_chosen_from_the_round_in_which_it_arrives() -> None:
    rounds = worlds.arriving(0, offers=20, rounds=400)
    recorder, _ = recorded(rounds)
    assert [len(offers) for offers in recorder.offers] == [(rounds.since <= t).sum() for t in range(400)]
    assert len(recorder.offers[0]) == 5
    assert len(recorder.offers[-1]) == 20


def test_a_log_judges_by_matches_and_teaches_all_that_it_holds() -> None:
    logged = np.arange(100) // 2 % 20
    rounds = dataclasses.replace(short(worlds.logistic(0), 100), logged=logged)
    recorder, score = recorded(rounds)
    assert [offer for _, _, offer, _ in recorder.learned] == logged.tolist()
    matched = np.flatnonzero(logged == np.arange(100) % 20)
    assert len(matched) > 1
    assert score.rewards == rounds.rewards[matched, logged[matched]].tolist()


def test_random_and_oracle_are_the_ends() -> None:
    found = []
    for seed in range(3):
        rounds = worlds.logistic(seed)
        random, oracle = play(rounds, entrants.REFERENCES, seed)
        assert oracle.mean_reward == pytest.approx(rounds.expected.max(axis=1).mean())
        assert random.mean_reward == pytest.approx(rounds.expected.mean(), abs=0.02)
        found.append((random.mean_reward, oracle.mean_reward))
    assert np.mean(found, axis=0) == pytest.approx([0.206, 0.749], abs=0.025)


@ALL_WORLDS
def test_a_seed_is_always_the_same_world_and_another_one_is_not(stream: Stream) -> None:
    one, same, other = (stream.make(seed) for seed in (1, 1, 2))
    assert fingerprint([one.x, one.expected, one.rewards, one.base_propensity]) == fingerprint(
        [same.x, same.expected, same.rewards, same.base_propensity]
    )
    assert (one.expected != other.expected).any()
    assert ((one.expected > 0) & (one.expected < 1)).all()
    assert one.rewards.mean() == pytest.approx(one.expected.mean(), abs=0.01)
    assert [list(facts.values()) for facts in one.facts] == (one.x[:, : len(one.features)]).tolist()
    assert [feature.path for feature in one.features] == list(one.facts[0])
    assert len(one) == len(one.facts) == len(one.rewards)


def test_propensities_are_stale_for_eight_offers() -> None:
    rounds = worlds.stale(0)
    assert rounds.base_propensity is not None
    base_propensity = rounds.base_propensity.astype(np.float64)
    told = np.array([np.corrcoef(base_propensity[:, n], rounds.expected[:, n])[0, 1] for n in range(20)])
    level = base_propensity.mean(axis=0) / rounds.expected.mean(axis=0)
    assert (told < 0.1).sum() == 4
    assert ((told > 0.8) & (level > 1.4)).sum() == 4
    assert ((told > 0.9) & (abs(level - 1) < 0.2)).sum() == 12


def test_what_drifts_is_another_world_in_the_end() -> None:
    for world in (worlds.jump, worlds.rotation):
        rounds = world(0)
        early, late = rounds.expected[:600], rounds.expected[-600:]
        slopes = [
            np.linalg.lstsq(rounds.x[s], e, rcond=None)[0]
            for s, e in ((slice(600), early), (slice(-600, None), late))
        ]
        assert np.corrcoef(slopes[0].ravel(), slopes[1].ravel())[0, 1] < 0.5


@ALL_WORLDS
def test_our_policies_play_every_world(stream: Stream) -> None:
    rounds = short(stream.make(0), 40)
    who = tuple(e for e in entrants.present(with_peers=False) if e.suits(rounds))
    scores = play(rounds, who, 0)
    assert {"random", "thompson"} <= {score.entrant for score in scores}
    for score, again in zip(scores, play(rounds, who, 0), strict=True):
        assert len(score.rewards) == 40
        assert score.rewards == again.rewards


def test_what_ours_has_learned_is_what_the_product_would_have() -> None:
    rounds = short(worlds.stale(0), 60)
    player = Ours(rounds, 0, PolicySpec("bench", 1, "thompson"))
    play(rounds, (Entrant("ours", True, lambda *_: player),), 0)
    policy, table = player._policy, player._table
    sums = table.read(policy, player._numbers, player._tick)
    assert sums.own[:, 0].sum() == pytest.approx(60, rel=0.03)  # weights of forward decay
    assert fingerprint(policy.prepare(sums)) == fingerprint(player._prepared)


def compressed(path: Path, rows: list[dict[str, Any]], delimiter: str) -> None:
    path.parent.mkdir(parents=True)
    lines = [delimiter.join(rows[0]), *(delimiter.join(f'"{v}"' for v in row.values()) for row in rows)]
    path.write_bytes(lzma.compress("\n".join(lines).encode()))


def bank_row(number: int) -> dict[str, Any]:
    jobs = ("admin.", "student", "retired")
    return {
        **dict.fromkeys(real.CATEGORIES, "x"),
        **{name: low for name, (low, _) in real.NUMBERS.items()},
        "age": 20 + number % 50,
        "job": jobs[number % 3],
        "housing": "yes" if number % 2 else "no",
        "loan": "unknown",
        "duration": 1000 + number,
        "y": "yes" if number % 3 == 1 else "no",
    }


def test_bank_customers_stay_in_order_and_what_is_known_afterwards_is_not_read(tmp_path: Path) -> None:
    compressed(tmp_path / real.BANK, [bank_row(number) for number in range(100)], ";")
    rounds = real.bank_products(tmp_path, 13)
    assert [facts["customer.age"] for facts in rounds.facts] == [20 + n % 50 for n in range(3, 100, 10)]
    assert rounds.rewards.tolist() == [[n % 2, 0, n % 3 == 1] for n in range(3, 100, 10)]
    for made in (rounds, real.bank_scripts(tmp_path, 3)):
        assert not any("duration" in path for facts in made.facts for path in facts)
        assert made.x.shape[0] == 10
    scripts = real.bank_scripts(tmp_path, 3)
    assert not any("job" in path for path in scripts.facts[0])
    assert scripts.rewards.sum() == rounds.rewards[:, 2].sum()
    assert scripts.rewards.argmax(axis=1)[scripts.rewards.any(axis=1)].tolist() == [2, 2, 2]


def test_a_log_is_replayed_in_order_by_halves(tmp_path: Path) -> None:
    rows = [
        {
            "timestamp": f"2019-11-24 00:{59 - n:02d}:00+00:00",
            "item_id": n % 4,
            "position": 1 + n % 3,
            "click": int(n % 4 == 2),
            **{f"user_feature_{k}": f"u{n % 2}" for k in range(4)},
        }
        for n in range(60)
    ]
    compressed(tmp_path / real.OPEN_BANDIT, rows, ",")
    rounds = real.open_bandit(tmp_path, 0)
    assert rounds.logged is not None
    assert (len(rounds), rounds.offers) == (30, 4)
    assert rounds.rewards[np.arange(30), rounds.logged].tolist() == (rounds.logged == 2).tolist()
    assert rounds.rewards.sum() == (rounds.logged == 2).sum()
    assert not np.array_equal(real.open_bandit(tmp_path, 1).x, rounds.x)


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="--data"):
        real.bank_products(tmp_path / "nowhere", 0)


def test_a_stream_that_does_not_exist_is_named_before_anything_is_played(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["--quick", "--stream", "no such thing"]) == 2
    assert "cold offers" in " ".join(capsys.readouterr().out.split())


def test_intervals_are_students() -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    error = np.std(values, ddof=1)
    assert report.half_width(values) == pytest.approx(3.182446 * error / 2)
    assert report.half_width(values, subsampled=True) == pytest.approx(3.182446 * error)
    assert report.half_width([1.0]) == 0.0


def test_the_spread_of_random_halves_is_the_error_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(400)
    halves = [values[rng.permutation(400)[:200]].mean() for _ in range(4000)]
    assert np.std(halves) == pytest.approx(values.std() / 400**0.5, rel=0.05)


def seeds(rewards: dict[str, list[float]]) -> Seeds:
    return Seeds(machine="A machine", minutes=1, missing=[], subsampled=[], rewards={"s": rewards})


def test_level_with_the_best_goes_by_differences_on_the_same_seed() -> None:
    found = seeds(
        {
            "best": [0.1, 0.5, 0.9],
            "always a little less": [0.09, 0.49, 0.89],
            "level": [0.2, 0.4, 0.85],
            "oracle": [1.0, 1.0, 1.0],
        }
    )
    assert report.level_with_best(found, "s") == {"best", "level"}


def test_results_survive_saving_and_are_shown(tmp_path: Path) -> None:
    tasks = [
        measure.Task(stream=8, seed=seed, data=None, rounds=30, peers=False, policies=()) for seed in (0, 1)
    ]
    stream = worlds.WORLDS[8]
    scores = [measure.run(task)[1] for task in tasks]
    rows = report.rows_of(stream, scores, frozenset({"thompson", "propensity"}))
    assert [row.policy for row in rows if row.policy in ("random", "oracle")] == ["random", "oracle"]
    detail = seeds({})
    detail.rewards = {stream.name: {r.policy: [r.mean_reward, 0.5] for r in rows}}
    report.save(rows, detail, tmp_path / "new")
    assert report.load(tmp_path / "new") == (rows, detail)
    assert json.loads((tmp_path / "new" / "learning.json").read_text())[0].keys() == KEYS
    assert (
        f"| `thompson` | {'' if 'thompson' not in report.level_with_best(detail, stream.name) else '**'}"
        in (report.markdown(rows, detail))
    )


def published() -> tuple[list[Row], Seeds]:
    return report.load()


def test_published_results_have_their_form() -> None:
    if not report.RESULTS.exists():  # nothing has been published yet
        return
    rows, detail = published()
    assert all(row.keys() == KEYS for row in json.loads(report.RESULTS.read_text()))
    names = {stream.name for stream in measure.streams(Path("anywhere"))}
    assert {row.stream for row in rows} == detail.rewards.keys() <= names
    for row in rows:
        values = detail.rewards[row.stream][row.policy]
        assert row.seeds == len(values) >= 5
        assert row.mean_reward == pytest.approx(np.mean(values), abs=1e-4)
        assert row.ci95[0] <= row.mean_reward <= row.ci95[1]
        half = report.half_width(values, row.stream in detail.subsampled)
        assert (row.ci95[1] - row.ci95[0]) / 2 == pytest.approx(half, abs=2e-4)
        assert row.us_per_decision > 0
    assert {row.policy for row in rows if row.ours} <= {entry[0] for entry in entrants.OURS}
    assert {row.policy for row in rows if not row.ours} >= {peer.name for peer in entrants.PEERS}


def test_the_page_says_what_was_measured_and_nothing_else() -> None:
    block = report.BLOCK.search(report.DOCS.read_text())
    assert block is not None
    measured = report.markdown(*published()) if report.RESULTS.exists() else ""
    assert block[0] == block[1] + measured + block[2]


def row(policy: str, mean: float, *, ours: bool = False) -> Row:
    return Row(
        stream="s",
        policy=policy,
        ours=ours,
        seeds=2,
        mean_reward=mean,
        ci95=(0, 1),
        us_per_decision=1,
        us_per_update=1,
    )


def test_what_does_not_play_again_is_kept() -> None:
    old = (
        [row("random", 0.1), row("calibrated", 0.2), row("gittins", 0.3)],
        seeds({"random": [0.1, 0.1], "calibrated": [0.2, 0.2], "gittins": [0.3, 0.3]}),
    )
    # Without the other library this time: it was there when it played.
    again = seeds({"calibrated": [0.5, 0.5]}).model_copy(update={"missing": ["gittins"]})
    new = [row("calibrated", 0.5)], again
    rows, detail = report.merged(old, new)
    assert rows == [row("random", 0.1), row("calibrated", 0.5), row("gittins", 0.3)]
    assert detail.rewards["s"] == {"random": [0.1, 0.1], "calibrated": [0.5, 0.5], "gittins": [0.3, 0.3]}
    assert (detail.minutes, detail.missing) == (2, [])


def test_rewriting_replaces_the_block_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench:learning -->\nold\n<!-- /bench -->\nafter\n")
    rows = [row("calibrated", 0.6, ours=True), row("other", 0.5)]
    found = seeds({"calibrated": [0.6, 0.6], "other": [0.5, 0.5]})
    for _ in range(2):
        assert report.rewrite(page, rows, found)
        text = page.read_text()
        assert text.startswith("before\n<!-- bench:learning -->\n|")
        assert text.endswith("\n<!-- /bench -->\nafter\n")
        assert "old" not in text
        assert "| s |  |  | 0.6000 ± 0.5000 | other 0.5000 ± 0.5000 | +0.1000 to +0.1000 | ahead |" in text
    page.write_text("nothing here\n")
    assert not report.rewrite(page, rows, found)


def test_the_default_as_installed_learns_from_what_keeps_coming() -> None:
    rounds = short(worlds.untold(0), 300)
    chosen = entrants.chosen_features(rounds, 0)
    assert {feature.path for feature in chosen} == {*rounds.facts[0], None}
    assert entrants.chosen_features(short(worlds.flat(0), 50), 0) == ()
    assert (rounds.expected == rounds.expected[0]).all()

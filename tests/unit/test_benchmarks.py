"""The benchmark reads its generator right, its results have their form, and the README says what was measured."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import report, rules, world, wrk
from benchmarks.freshness import Freshness
from benchmarks.machine import BenchError
from benchmarks.plan import OFFERS, RESULTS, ROOT
from benchmarks.report import Results, Row

OUTPUT = """Running 2s test @ http://127.0.0.1:1
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     6.56ms    5.17ms  54.44ms   96.59%
  5000 requests in 2.00s, 748.51KB read
Requests/sec:   2500.00

{"requests":5000,"duration_us":2000000,"p50_us":5552,"p95_us":10429,"p99_us":36055,"p999_us":54385,"errors":0,\
"exhausted":0}
"""


KEYS = {
    "noop",
    "decide",
    "ratio",
    "cpu_us_per_decision",
    "feedback_rps",
    "freshness_p50_ms",
    "freshness_p99_ms",
    "offers",
    "customers",
    "machine",
}


def row(connections: int, rps: float) -> Row:
    return Row(connections=connections, rps=rps, p50_ms=1.5, p95_ms=2, p99_ms=3.25, p999_ms=4)


def some_results() -> Results:
    return Results(
        noop=[row(n, 6000) for n in (1, 16, 32)],
        decide=[row(n, 1500) for n in (1, 16, 32)],
        ratio=0.25,
        cpu_us_per_decision=512.4,
        feedback_rps=2500.0,
        freshness_p50_ms=1.25,
        freshness_p99_ms=6.5,
        offers=200,
        customers=100_000,
        machine="A processor, 2 cores",
        extra={},
    )


def test_figures_are_those_that_wrk_printed() -> None:
    measured = wrk.parse(OUTPUT)
    assert measured.rps == 2500.0
    assert wrk.row(16, [measured]) == Row(
        connections=16, rps=2500.0, p50_ms=5.552, p95_ms=10.429, p99_ms=36.055, p999_ms=54.385
    )


def test_a_row_is_the_median_of_its_runs() -> None:
    runs = [
        wrk.parse(OUTPUT),
        wrk.parse(OUTPUT.replace('"requests":5000', '"requests":4000').replace("5552", "6000")),
        wrk.parse(OUTPUT.replace('"requests":5000', '"requests":7000').replace("5552", "9000")),
    ]
    middle = wrk.row(16, runs)
    assert (middle.rps, middle.p50_ms) == (2500.0, 6.0)


@pytest.mark.parametrize(
    "output",
    [
        "",
        "unable to connect",
        OUTPUT.replace('"requests":5000', '"requests":0'),
        OUTPUT.replace("p99_us", "p98"),
    ],
)
def test_output_without_a_result_is_an_error(output: str) -> None:
    with pytest.raises(BenchError):
        wrk.parse(output)


def test_results_have_the_form_that_is_published(tmp_path: Path) -> None:
    report.save(some_results(), tmp_path / "results.json")
    for path in (tmp_path / "results.json", *RESULTS.parent.glob(RESULTS.name)):
        assert json.loads(path.read_text()).keys() == KEYS | {"extra"}
        results = report.load(path)
        for rows in (results.noop, results.decide):
            assert [found.connections for found in rows] == [1, 16, 32]
            assert all(r.p50_ms <= r.p95_ms <= r.p99_ms <= r.p999_ms for r in rows)
        assert results.ratio == pytest.approx(results.decide[1].rps / results.noop[1].rps, abs=0.001)
        assert (results.offers, results.customers) == (200, 100_000)


def test_the_freshness_of_events_is_said_where_it_was_measured() -> None:
    said = "from an event's acknowledgement"
    results = some_results()
    assert said not in report.markdown(results)
    fresh = Freshness(p50_ms=1.24, p99_ms=7.66, poll_ms=1.0, samples=300)
    results.extra[report.EVENTS] = asdict(fresh)
    (line,) = [line for line in report.markdown(results).splitlines() if said in line]
    assert "p50 1.2 ms, p99 7.7 ms" in line


def test_readme_says_what_was_measured_and_nothing_else() -> None:
    block = report.BLOCK.search((ROOT / "README.md").read_text())
    assert block is not None
    measured = report.markdown(report.load(RESULTS)) if RESULTS.exists() else ""
    assert block[0] == block[1] + measured + block[2]


def test_rewriting_replaces_the_block_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- bench:decide -->\nold\n<!-- /bench -->\nafter\n")
    for _ in range(2):
        assert report.rewrite(readme, some_results())
        text = readme.read_text()
        assert text.startswith("before\n<!-- bench:decide -->\n|")
        assert text.endswith("\n<!-- /bench -->\nafter\n")
        assert "old" not in text
        assert "| decide | 16 | 1,500 | 1.50 | 2.00 | 3.25 | 4.00 |" in text


def test_noise_is_not_kept_quiet() -> None:
    noisy = some_results().model_copy(update={"extra": {"runs": {"decide 16": {"others": [0.0, 0.31]}}}})
    assert "took up to 31% of the API's core" in report.markdown(noisy)
    assert "took up to" not in report.markdown(some_results())


def test_rewriting_tells_that_there_is_no_block(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing here\n")
    assert not report.rewrite(readme, some_results())
    assert readme.read_text() == "nothing here\n"


def test_results_survive_saving(tmp_path: Path) -> None:
    report.save(some_results(), tmp_path / "new" / "results.json")
    assert report.load(tmp_path / "new" / "results.json") == some_results()


def test_customers_are_the_same_in_every_run() -> None:
    first, again = list(world.draw_crowds(2500)), list(world.draw_crowds(2500))
    assert [len(crowd.customers) for crowd in first] == [2000, 500]
    assert [c.customers for c in first] == [c.customers for c in again]
    assert all((a.scores == b.scores).all() for a, b in zip(first, again, strict=True))
    assert first[1].scores.shape == (500, OFFERS)
    assert {len(c.attributes) + len(c.indicators) for c in first[0].customers} == {12}


def test_all_offers_but_one_are_where_it_is_measured() -> None:
    treatments = [body for path, body in world.catalogue_requests() if "/treatments/" in path]
    assert sum(body["channel"] == "web" for body in treatments) == OFFERS
    assert len(treatments) == OFFERS + 1


@pytest.mark.parametrize(("offers", "distinct"), [(10, 10), (10, 200), (100, 50), (200, 0)])
def test_the_site_has_as_many_offers_and_distinct_rules_as_it_says(offers: int, distinct: int) -> None:
    site = rules.make_site(offers, distinct)
    view = site.catalogue.view("home")
    assert len(view.offers) == offers
    shared = {expression.source for tier in view.conditions.values() for expression in tier.shared}
    assert len(shared) == distinct
    assert len(site.profiles) == rules.CUSTOMERS


def test_the_cost_by_offers_and_rules_is_shown_and_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "OFFERS", (10,))
    monkeypatch.setattr(rules, "REPETITIONS", 1)
    path = tmp_path / "results" / "rules.json"
    costs = rules.main(Console(quiet=True), path, run_s=0.0)
    assert [(cost.offers, cost.rules) for cost in costs] == [rules.BASE, (10, 10), (10, 50), (10, 200)]
    saved = json.loads(path.read_text())
    assert [row["rules"] for row in saved["decisions"]] == [0, 10, 50, 200]
    for row in saved["decisions"]:
        assert min(row[name] for name in ("us_per_decision", "us_rules", "us_allowed", "us_select")) >= 0

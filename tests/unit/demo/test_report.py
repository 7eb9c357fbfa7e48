"""The figures on screen and in the file."""

import io
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from demo.report import (
    Figures,
    acceptance_table,
    beside_lines,
    live_view,
    plain_line,
    print_end,
    print_start,
    to_json,
    write_json,
)

KEY, AGENT_KEY, PAGE_KEY = "nb_admin_secret", "nb_agent_secret", "nb_pub_secret"
BESIDE = {
    "holdout": {"treated": 900, "held_out": 100, "measures": []},
    "shadow": {"policy": "habits@1", "decisions": 700, "agreement": 0.61},
    "canary": {"policy": "by-type", "version": 1, "decisions": 70, "acceptances": 9, "observations": 60},
    "alerts": [{"alert_id": "party-vouchers-go", "message": "110 of 500 are used"}],
    "reasons": {"no-time": 12},
}


def row(policy: str, decided: int, accepted: int, still_open: int = 0) -> dict[str, Any]:
    """A row of the report; every open offer was accepted at once."""
    return {
        "policy": policy,
        "decided": decided + still_open,
        "open": still_open,
        "observed": decided,
        "accepted": accepted + still_open,
        "accepted_closed": accepted,
        "rejected": 0,
        "rate": accepted / decided if decided else 0.0,
        "low": 0.05,
        "high": 0.25,
        "value": 12.5,
    }


def _stopped(offer_id: str, stage: str, name: str, observed: Any) -> dict[str, Any]:
    stop = {"stage": stage, "name": name, "observed": observed, "required": None}
    return {"offer_id": offer_id, "result": "stopped", "stage": stage, "stops": [stop]}


@pytest.fixture
def figures() -> Figures:
    made = Figures(
        api_url="http://127.0.0.1:8000",
        api_key=KEY,
        agent_key=AGENT_KEY,
        page_key=PAGE_KEY,
        page_url=f"http://127.0.0.1:1/sample/index.html?key={PAGE_KEY}",
        seconds=30.0,
        acceptance=[row("history", 3940, 527), row("random", 0, 0), row("calibrated", 1000, 180)],
        arms=[
            {"offer_id": "o1", "observations": 812.4, "successes": 160, "mean": 0.2, "low": 0.1, "high": 0.3}
        ],
        learned_observations=790.0,
        explained={
            "decision_id": "nb001-x",
            "customer_id": "household-1",
            "placement": "web-home",
            "policy": {"name": "calibrated", "version": 1},
            "offers": [
                {
                    "offer_id": "o1",
                    "rank": 1,
                    "score": 2.43,
                    "factors": {"P": 0.243, "C": 1.0, "V": 10.0, "L": 1.0},
                    "probability": 0.875,
                },
                {"offer_id": "o2", "rank": 2, "score": None, "factors": None, "probability": None},
            ],
            "explanation": [
                {"offer_id": "o1", "result": "chosen", "rank": 1},
                {"offer_id": "o4", "result": "ready", "rank": None},
                _stopped("o5", "suitability", "cooks", {"customer.interests.grocery": None}),
                *(_stopped(f"o{number}", "dates", "over", 1) for number in range(6, 10)),
            ],
        },
        example_customer="household-1",
        offer_names={"o1": "Campaign 1: cheese"},
        set_up=[("import", 1.234)],
    )
    made.tally.decisions = 1000
    made.tally.feedback.update({"recorded": 400, "duplicate": 11})
    made.tally.latencies_ms.extend([2.0, 4.0])
    return made


def shown(figures: Figures, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_start(console, figures)
    console.print(live_view(figures))
    print_end(console, figures)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_everything_promised_is_on_screen(figures: Figures) -> None:
    text = shown(figures)
    for part in ("http://127.0.0.1:8000/docs", KEY, "One decision, explained", "Campaign 1: cheese", "0.875"):
        assert part in text
    assert "Visitors and their answers are simulated" in text
    assert "targeted, not randomised: no uplift claimed" in text
    assert "control group, chosen at random" in text
    assert "18.0%" in text
    assert "5.0% - 25.0%" in text
    assert "live feedback added 790 observations" in text


def test_where_to_look_is_on_screen_with_the_key_that_opens_it(figures: Figures) -> None:
    text = shown(figures, width=60)
    for name, key in (("API key", KEY), ("agent key", AGENT_KEY), ("page key", PAGE_KEY)):
        assert f"{name:<14} {key}\n" in text
    for path in ("/console/reports", "/console/placements/web-home", "/console/changes", "/console/desk"):
        assert f"  http://127.0.0.1:8000{path}  " in text
    assert f"  {figures.page_url}  a shop's page" in text
    figures.page_url = ""
    assert "a shop's page" not in shown(figures)


def test_what_stands_beside_the_champion_is_on_screen_as_far_as_it_is_known(figures: Figures) -> None:
    assert beside_lines({}) == []
    figures.beside = BESIDE
    text = shown(figures)
    assert "100 households were held out, 900 not" in text
    assert "Shadow habits@1: asked about 700 decisions, 61% as the others chose" in text
    assert "Canary by-type@1: 70 decisions, 9 of 60 households accepted" in text
    assert "Alert party-vouchers-go: 110 of 500 are used." in text
    assert "no-time x 12" in text


@pytest.mark.parametrize("lacking", ["holdout", "shadow", "firings"])
def test_the_end_waits_for_the_hold_out_the_shadow_and_a_firing(figures: Figures, lacking: str) -> None:
    assert not figures.shows_all
    figures.firings = {} if lacking == "firings" else {"delivered": 1}
    figures.beside = BESIDE if lacking == "firings" else BESIDE | {lacking: None}
    if lacking == "holdout":
        figures.beside["holdout"] = {"treated": 9, "held_out": 0}
    assert not figures.shows_all
    figures.firings, figures.beside = {"delivered": 1}, BESIDE
    assert figures.shows_all


def test_the_example_is_a_household_that_is_offered_something(figures: Figures) -> None:
    figures.example_customer = "household-held-out"
    assert '"customer_id": "household-1"' in figures.curl_line()
    figures.explained = None
    assert figures.example() == "household-held-out"


def test_why_and_why_not_are_on_screen(figures: Figures) -> None:
    text = shown(figures, width=200)
    assert "suitability, cooks: customer.interests.grocery is missing" in text
    assert "others were drawn" in text
    assert "o6; o7 and 2 more" in text


def test_policies_come_before_history(figures: Figures) -> None:
    text = shown(figures)
    assert text.index("│ calibrated") < text.index("│ random") < text.index("│ history")


def test_the_curl_line_survives_a_narrow_terminal_and_a_shell(figures: Figures) -> None:
    line = next(line for line in shown(figures, width=60).splitlines() if line.startswith("curl "))
    words = shlex.split(line)
    assert words[:3] == ["curl", "-s", "http://127.0.0.1:8000/v1/decisions"]
    assert f"Authorization: Bearer {KEY}" in words
    assert json.loads(words[-1])["customer_id"] == "household-1"


def test_interests_are_on_screen_and_in_the_file(figures: Figures) -> None:
    concepts = {"a": 0, "b": 7, "c": 1_200, "d": 3, "e": 2, "f": 1}
    rows = [
        {"concept": c, "name": c.upper(), "customers": n, "total": n, "share": 0} for c, n in concepts.items()
    ]
    figures.interests = {"customers": 2469, "sample": 1500, "interests": rows}
    assert "Interests told by purchases, in a sample of 1,500 households: C 1,200, B 7, D 3, E 2\n" in shown(
        figures
    )
    assert to_json(figures)["interests"] == figures.interests
    figures.interests["interests"] = rows[:1]
    assert "in a sample of 1,500 households: none yet" in shown(figures)


def test_errors_and_degraded_answers_are_not_hidden(figures: Figures) -> None:
    figures.tally.errors["decisions 500"] = 3
    figures.tally.degraded["deadline_exceeded"] = 2
    text = shown(figures)
    assert "decisions 500 x 3" in text
    assert "deadline_exceeded x 2" in text


def test_the_plain_line_leaves_history_out(figures: Figures) -> None:
    assert "calibrated 18.0% of 1,000 (0 open)" in plain_line(figures)
    assert "history" not in plain_line(figures)
    assert plain_line(Figures("u", "k")).endswith("nothing known yet")


def test_the_file_holds_the_same_figures_without_the_key(figures: Figures, tmp_path: Path) -> None:
    path = tmp_path / "demo-report.json"
    write_json(figures, path)
    text = path.read_text()
    assert not any(key in text for key in (KEY, AGENT_KEY, PAGE_KEY))
    found = json.loads(text)
    assert found == json.loads(json.dumps(to_json(figures)))
    assert (found["decisions"], found["feedback"], found["learned"], found["seconds"]) == (
        1000,
        411,
        True,
        30,
    )
    assert [entry["policy"] for entry in found["acceptance"]] == ["history", "random", "calibrated"]
    assert found["acceptance"][0]["note"] == "targeted, not randomised: no uplift claimed"
    assert found["explained"]["offers"][0]["factors"]["P"] == 0.243
    assert found["addresses"]["API"] == "http://127.0.0.1:8000"
    assert found["set_up_s"] == {"import": 1.23}
    assert [file.name for file in tmp_path.iterdir()] == ["demo-report.json"]


@pytest.mark.parametrize(
    ("decisions", "recorded", "observations", "succeeded"),
    [(10, 5, 3.0, True), (0, 0, 0.0, False), (10, 0, 3.0, False), (10, 5, 0.0, False)],
)
def test_success_takes_decisions_feedback_and_learning(
    decisions: int, recorded: int, observations: float, succeeded: bool
) -> None:
    figures = Figures("u", "k", learned_observations=observations)
    figures.tally.decisions = decisions
    figures.tally.feedback["recorded"] = recorded
    assert figures.succeeded is succeeded


def test_open_offers_enter_no_rate() -> None:
    young = Figures("u", "k", acceptance=[row("calibrated", 0, 0, still_open=15), row("random", 100, 5, 15)])
    assert "random 5.0% of 100 (15 open)" in plain_line(young)
    assert "calibrated" not in plain_line(young)
    screen = io.StringIO()
    Console(file=screen, width=160).print(acceptance_table(young.acceptance))
    lines = screen.getvalue().splitlines()
    calibrated = next(line for line in lines if "calibrated" in line)
    assert [cell.strip() for cell in calibrated.split("│")[2:7]] == ["15", "15", "0", "0", "-"]
    random = next(line for line in lines if "random" in line)
    assert [cell.strip() for cell in random.split("│")[2:7]] == ["115", "15", "100", "5", "5.0%"]

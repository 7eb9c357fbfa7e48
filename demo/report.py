"""The report of the demo, as values and as a JSON file; `screen` shows the same."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from demo.client import Json
from demo.names import WEB
from demo.visitors import VisitTally

NOTES = {
    "calibrated": "learns from every answer",
    "random": "control group, chosen at random",
    "propensity": "fallback: precomputed propensities only",
    "default": "the placement's default offers",
}
HISTORY_NOTE = "targeted, not randomised: no uplift claimed"
SIMULATED = (
    "Visitors and their answers are simulated, by a model fitted on the real redemptions and scaled up: the rates "
    "show that the service learns, not what a grocer would earn. History was targeted by the grocer, not "
    "randomised, so no uplift is claimed from it."
)


@dataclass(slots=True)
class Figures:
    """All that is reported.

    `acceptance` and `arms` are rows of the API's answers; `learned_observations` is how much the arms'
    evidence grew by live feedback; `set_up` has the seconds of each step; `offer_names` the names of all
    offers.
    """

    api_url: str
    api_key: str
    seconds: float = 0.0
    tally: VisitTally = field(default_factory=VisitTally)
    acceptance: Sequence[Json] = ()
    arms: Sequence[Json] = ()
    learned_observations: float = 0.0
    explained: Json | None = None
    example_customer: str = ""
    offer_names: Mapping[str, str] = field(default_factory=dict)
    set_up: Sequence[tuple[str, float]] = ()
    data: Json = field(default_factory=dict)

    @property
    def learned(self) -> bool:
        """True if live feedback has changed the arms."""
        return self.learned_observations >= 1.0

    @property
    def succeeded(self) -> bool:
        """True if decisions were served and learned from."""
        return self.tally.decisions > 0 and self.tally.feedback["recorded"] > 0 and self.learned

    def addresses(self) -> dict[str, str]:
        """List the addresses of the service, by name."""
        paths = {"API": "", "documentation": "/docs", "metrics": "/metrics", "readiness": "/readyz"}
        return {name: self.api_url + path for name, path in paths.items()}

    def curl_line(self) -> str:
        """Write a line to paste into a shell: it asks for a decision."""
        body = {"customer_id": self.example_customer, "placement": WEB, "context": {"page": "home"}}
        return (
            f"curl -s {self.api_url}/v1/decisions -H 'Authorization: Bearer {self.api_key}' "
            f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'"
        )


def is_history(row: Json) -> bool:
    """Return whether a row of the acceptance report counts imported decisions, which no policy of ours made."""
    return row["policy"] not in NOTES


def note_of(row: Json) -> str:
    """Explain a row of the acceptance report."""
    return HISTORY_NOTE if is_history(row) else NOTES[row["policy"]]


def to_json(figures: Figures) -> Json:
    """Convert the figures to plain values, without the API key."""
    tally = figures.tally
    return {
        "decisions": tally.decisions,
        "without_offer": tally.empty,
        "feedback": sum(tally.feedback.values()),
        "feedback_statuses": dict(tally.feedback),
        "answers": dict(tally.answers),
        "errors": dict(tally.errors),
        "degraded": dict(tally.degraded),
        "decision_p50_ms": tally.latency_ms(0.5),
        "decision_p99_ms": tally.latency_ms(0.99),
        "seconds": round(figures.seconds, 2),
        "learned": figures.learned,
        "learned_observations": round(figures.learned_observations, 3),
        "acceptance": [row | {"note": note_of(row)} for row in figures.acceptance],
        "arms": list(figures.arms),
        "explained": figures.explained,
        "addresses": figures.addresses(),
        "set_up_s": {name: round(seconds, 2) for name, seconds in figures.set_up},
        "data": figures.data,
        "note": SIMULATED,
    }


def write_json(figures: Figures, path: Path) -> None:
    """Write the figures; the file appears whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(to_json(figures), indent=2) + "\n")
    new.replace(path)

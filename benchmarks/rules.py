"""The cost of a decision in CPU time, in this process, by the number of offers and of distinct rules.

Measured is the pure path: facts, context, rules, weights, what is allowed, and drawing one slot with ``calibrated``.
Left out is all that is not about rules: HTTP, JSON, Redis, decoding the profile, rendering, the log.
"""

import gc
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bandits.policy import IntArray, Observation, Sums
from bandits.registry import BUILT_IN, build_policy
from bandits.state import ArmTable, fold_observations
from benchmarks import world
from benchmarks.machine import describe
from benchmarks.plan import RULES_RESULTS
from decisioning.catalog.catalogue import Catalogue
from decisioning.decide.eligibility import STAGES, EligibilityInputs, allowed
from decisioning.decide.facts import facts_of
from decisioning.decide.ranking import SelectionContext, select, weigh
from decisioning.model.entities import TIERS, ContactLimit, Group, Offer, Placement, Rule, Treatment
from profiles.customer import Customer, Profile
from rules.evaluation import Evaluation, evaluate
from rules.vocabulary import Attribute
from storage.clock import to_datetime

OFFERS = (10, 100, 1_000, 2_500)
RULES = (10, 50, 200)
BASE = (200, 0)
"""Two hundred offers without any rules: what rules must not make slower."""
ATTRIBUTES = 12
CUSTOMERS = 64
REPETITIONS = 7
RUN_S = 0.1
NOW_MS = 1_790_000_000_000
POLICY = build_policy(next(spec for spec in BUILT_IN if spec.name == world.POLICY))
PLACEMENT = Placement("home", "web", deadline_ms=250)
CONTEXT = {"page": "home", "visits": 3.0}


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of CPU time a decision, and of its parts.

    ``us_rules``: facts, context, each distinct rule once, weights. ``us_allowed``: dates, rules as they are known by
    then, consent, contact policy. ``us_select``: propensities, distribution, the draw.
    """

    offers: int
    rules: int
    us_per_decision: float
    us_rules: float
    us_allowed: float
    us_select: float


@dataclass(frozen=True, slots=True)
class Site:
    """A catalogue, and those who ask."""

    catalogue: Catalogue
    profiles: Sequence[Profile]
    prepared: Any


def main(console: Console, path: Path = RULES_RESULTS, run_s: float = RUN_S) -> list[Cost]:
    """Measure all combinations, show and save them."""
    costs = [measure(*BASE, run_s=run_s)]
    costs += [measure(offers, rules, run_s=run_s) for offers in OFFERS for rules in RULES]
    console.print(table(costs))
    console.print(describe(), style="dim", highlight=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"machine": describe(), "decisions": [asdict(cost) for cost in costs]}
    path.write_text(json.dumps(found, indent=2) + "\n")
    return costs


def table(costs: Sequence[Cost]) -> Table:
    """The costs as a table."""
    shown = Table(title="CPU time of a decision in microseconds: the pure path, one slot, calibrated")
    for name in ("offers", "distinct rules", "decision", "rules", "allowed", "select"):
        shown.add_column(name, justify="right")
    for cost in costs:
        parts = (cost.us_per_decision, cost.us_rules, cost.us_allowed, cost.us_select)
        shown.add_row(f"{cost.offers:,}", str(cost.rules), *(f"{us:,.0f}" for us in parts))
    return shown


def measure(offers: int, rules: int, run_s: float = RUN_S) -> Cost:
    """The cost at ``offers`` and ``rules``: medians of ``REPETITIONS`` runs of ``run_s`` seconds."""
    site = make_site(offers, rules)
    view = site.catalogue.view(PLACEMENT.placement_id)
    evaluations = {p.customer.customer_id: _evaluated(site, p) for p in site.profiles}

    def whole(profile: Profile) -> None:
        evaluation = _evaluated(site, profile)
        _selected(site, profile, evaluation, _allowed(site, profile, evaluation))

    def conditions(profile: Profile) -> None:
        evaluation = _evaluated(site, profile)
        weigh(view, evaluation)
        mask = np.ones(len(view.offers), dtype=bool)
        for stage in STAGES:
            if stage.name in TIERS:
                stage.narrow(_inputs(site, profile, evaluation), mask)

    def permission(profile: Profile) -> None:
        _allowed(site, profile, evaluations[profile.customer.customer_id])

    available = {p.customer.customer_id: _allowed(site, p, _evaluated(site, p)) for p in site.profiles}

    def selection(profile: Profile) -> None:
        name = profile.customer.customer_id
        _selected(site, profile, evaluations[name], available[name])

    parts = [_median(step, site.profiles, run_s) for step in (whole, conditions, permission, selection)]
    return Cost(offers, rules, *parts)


def _median(step: Callable[[Profile], None], profiles: Sequence[Profile], run_s: float) -> float:
    """Median CPU time of one call, in microseconds."""
    took = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(REPETITIONS):
            calls, until = 0, time.perf_counter() + run_s
            started = time.process_time()
            while calls == 0 or time.perf_counter() < until:
                for profile in profiles:
                    step(profile)
                calls += len(profiles)
            took.append((time.process_time() - started) / calls)
    finally:
        gc.enable()
    return round(median(took) * 1e6, 1)


def _evaluated(site: Site, profile: Profile) -> Evaluation:
    view = site.catalogue.view(PLACEMENT.placement_id)
    return evaluate(view.plan, facts_of(profile.customer, CONTEXT, view.placement), to_datetime(NOW_MS))


def _allowed(site: Site, profile: Profile, evaluation: Evaluation) -> Any:
    return allowed(_inputs(site, profile, evaluation))


def _inputs(site: Site, profile: Profile, evaluation: Evaluation) -> EligibilityInputs:
    view = site.catalogue.view(PLACEMENT.placement_id)
    return EligibilityInputs(site.catalogue, view, profile, (), evaluation, frozenset(), NOW_MS)


def _selected(site: Site, profile: Profile, evaluation: Evaluation, available: Any) -> None:
    view = site.catalogue.view(PLACEMENT.placement_id)
    selection_context = SelectionContext(
        view=view,
        available=available,
        base_propensities=profile.dense(view.numbers),
        weights=weigh(view, evaluation),
        now_ms=NOW_MS,
        slots=1,
        decision_id=f"bench/{profile.customer.customer_id}",
    )
    select(selection_context, POLICY, site.prepared)


def make_site(offers: int, rules: int) -> Site:
    """A catalogue of ``offers`` with ``rules`` distinct conditions, drawn from a fixed seed, and customers.

    Every offer has two rules at least, and every rule is some offer's. A fifth of the offers needs consent, a tenth
    has a contact limit, as in the benchmark of whole decisions. A rule is met by nine customers in ten.
    """
    attributes = [Attribute(f"customer.a{number}", "number") for number in range(ATTRIBUTES)]
    catalogue = Catalogue(
        version=1,
        groups={f"g{number}": Group(f"g{number}", f"Group {number}", "grow") for number in range(8)},
        offers={offer.offer_id: offer for offer in _offers(offers, rules)},
        placements={PLACEMENT.placement_id: PLACEMENT},
        attributes={attribute.path: attribute for attribute in attributes},
    )
    numbers = catalogue.view(PLACEMENT.placement_id).numbers
    return Site(catalogue, list(_profiles(numbers)), POLICY.prepare(_make_arms(numbers)))


def _make_arms(numbers: IntArray) -> Sums:
    """Make the arms of a policy after ten thousand outcomes, of which one in twenty was an acceptance."""
    rng = np.random.default_rng(3)
    at_s = NOW_MS / 1000.0
    seen = (
        Observation(int(number), float(rng.random() < 0.05), float(rng.uniform(0.01, 0.1)))
        for number in rng.choice(numbers, 10_000)
    )
    table = ArmTable(POLICY.width)
    for name, delta in fold_observations(POLICY, ((one, at_s) for one in seen)).items():
        table.add(name, delta)
    return table.read(POLICY, numbers, POLICY.decay.tick(at_s))


def _offers(offers: int, rules: int) -> Iterator[Offer]:
    conditions = [f"customer.a{number % ATTRIBUTES} > {number / 2000:.4f}" for number in range(rules)]
    for row in range(offers):
        wanted = set(range(row, rules, offers)) | ({row % rules, (7 * row + 3) % rules} if rules else set())
        yield Offer(
            offer_id=f"offer-{row}",
            number=row + 1,
            name=f"Offer {row}",
            group=f"g{row % 8}",
            value=5.0 + row % 40,
            requires_consent="marketing" if row % 5 == 1 else None,
            contact_limits=(ContactLimit(3, 604_800),) if row % 10 == 2 else (),
            treatments=(Treatment("banner", "web", "en", "Title", "Message"),),
            rules=tuple(Rule(f"rule {i}", "eligibility", conditions[i]) for i in sorted(wanted)),
        )


def _profiles(numbers: Any) -> Iterator[Profile]:
    rng = np.random.default_rng(4)
    for number in range(CUSTOMERS):
        drawn = rng.uniform(0.0, 1.0, ATTRIBUTES).tolist()
        customer = Customer(
            customer_id=f"c{number}",
            attributes={f"a{place}": value for place, value in enumerate(drawn)},
            indicators={},
            holdings=(),
            interests={},
            consents={"marketing": ("*",)} if number % 5 else {},
        )
        scores = rng.gamma(2.0, 0.02, len(numbers)).clip(0.0001, 0.9999).astype(np.float32)
        yield Profile(customer, numbers.copy(), scores)

"""The demo's rules: right by its own vocabulary, and each live offer keeps an audience among the real households."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from decisioning.decide.facts import facts_of
from decisioning.model.entities import Placement
from decisioning.treatments.article import Article, check_article
from decisioning.treatments.article_search import search_articles
from demo import purchases, steering
from demo.customers import customer_table
from demo.journey import Journey
from demo.load import catalogue_requests
from demo.names import HOLDOUT
from demo.offers import build_offers
from demo.visitors import CONTEXTS
from profiles.customer import Customer
from rules.evaluation import RuleSet, evaluate
from rules.expression import Checker
from rules.vocabulary import Attribute, Vocabulary
from storage.clock import to_datetime

TODAY = date(2031, 3, 9)
Rules = tuple[Checker, RuleSet]


@pytest.fixture(scope="module")
def rules() -> Rules:
    attributes = [
        Attribute(path.rsplit("/", 1)[1], body["type"], values=tuple(body.get("values", ())))
        for path, body in steering.before_offers()
        if "/attributes/" in path
    ]
    checker = Checker(Vocabulary.of(attributes), steering.SEGMENTS)
    segments = {name: checker.check(when) for name, (when, _) in steering.SEGMENTS.items()}
    return checker, RuleSet(checker.vocabulary, segments)


@pytest.fixture(scope="module")
def customers(journey: Journey) -> list[Customer]:
    return [_customer(row) for row in customer_table(journey).to_pylist()]


def _customer(row: dict[str, Any]) -> Customer:
    parts: dict[str, dict[str, Any]] = {"attributes": {}, "indicators": {}, "interests": {}}
    for column, value in row.items():
        kind, _, name = column.partition(".")
        if kind in parts and value is not None:
            parts[kind][name] = value
    return Customer(row["customer_id"], parts["attributes"], parts["indicators"], (), parts["interests"], {})


def audience(rules: Rules, customers: list[Customer], offer_id: str, context: dict[str, Any]) -> int:
    checker, rule_set = rules
    conditions = [checker.check(rule["when"]) for rule in steering.rules_of(offer_id)]
    plan = rule_set.plan(conditions)
    found = 0
    for customer in customers:
        evaluation = evaluate(plan, facts_of(customer, context, Placement("p", "web")), to_datetime(0))
        found += all(evaluation.holds(condition) for condition in conditions)
    return found


def test_values_in_the_data_are_in_the_vocabulary(rules: Rules, customers: list[Customer]) -> None:
    declared = rules[0].vocabulary.attributes
    for customer in customers:
        for name, value in customer.attributes.items():
            assert value in declared[f"customer.{name}"].values
        for name in (*customer.indicators, *(f"interests.{name}" for name in customer.interests)):
            assert declared[f"customer.{name}"].type == "number"


def test_each_live_offer_has_an_audience_and_turns_somebody_away(
    rules: Rules, customers: list[Customer], journey: Journey
) -> None:
    noon = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC)
    live = [offer.id for offer in build_offers(journey, TODAY) if offer.live_at(noon)]
    assert sorted(steering.RULES) == live
    for offer_id in live:
        assert 0.25 < audience(rules, customers, offer_id, {"page": "home"}) / len(customers) < 1


def test_nothing_is_offered_in_a_complaint(rules: Rules, customers: list[Customer]) -> None:
    for contexts in CONTEXTS.values():
        for context in contexts:
            reached = audience(rules, customers[:200], "campaign-21", dict(context))
            assert (reached == 0) == (context.get("reason") == "complaint")


def test_scripts_have_conditions_that_hold_for_some(rules: Rules) -> None:
    steps = steering.script("soap")["steps"]
    for step in steps:
        if "when" in step:
            rules[0].check(step["when"])
    assert any("when" not in step for step in steps)


def test_articles_are_right_and_found_in_both_languages() -> None:
    sent = [(path, body) for path, body in steering.after_offers() if path.startswith("/v1/articles/")]
    articles = [
        Article(path.rpartition("/")[2], body["title"], body["body"], body["language"], tuple(body["tags"]))
        for path, body in sent
    ]
    assert len(articles) == len(steering.ARTICLES) == 4
    assert [error for article in articles for error in check_article(article, {"reasons": {}})] == []
    for words, expected in (
        ("coupon did not count", "coupon-not-counted"),
        ("CÚPONES", "cupones-en-la-tarjeta"),
    ):
        assert search_articles(articles, words, {})[0].article.article_id == expected


def test_what_follows_a_no_ends_within_minutes_so_that_a_long_demo_does_not_run_dry(journey: Journey) -> None:
    bodies = dict(steering.before_offers())
    for reason, (_, scope, for_s) in steering.REASONS.items():
        assert bodies[f"/v1/reasons/{reason}"]["suppress"] == [{"for_s": for_s, "scope": scope}]
        assert for_s <= 600
    offers = [body for path, body in catalogue_requests(build_offers(journey, TODAY)) if "/offers/" in path]
    rejected = [body["after_rejection"] for body in offers if "after_rejection" in body]
    assert len(rejected) == 27
    assert {found["for_s"] for (found,) in rejected} == {steering.AFTER_REJECTION_S}


def test_the_hold_out_the_alert_and_the_proposal_name_what_is_there() -> None:
    bodies = dict(steering.after_offers())
    (capacity,) = [path for path in bodies if "/capacities/" in path]
    assert bodies[f"/v1/alert-rules/{steering.ALERT}"]["capacity"] == capacity.rsplit("/", 1)[1]
    assert f"/v1/capacities/{steering.proposal()[1].partition('/')[2]}" == capacity
    (compared,) = bodies[f"/v1/holdouts/{HOLDOUT}"]["events"]
    schema = dict(purchases.before_offers())[f"/v1/event-types/{compared['event']}"]["json_schema"]
    assert compared["property"] in schema["properties"]

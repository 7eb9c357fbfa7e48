"""Counts of those for whom nothing is left: bounded lists, and shares of all that were looked at."""

from decisioning.reporting.without_offer import MAX_RULES, EmptyCounts, StoppedBy


def test_the_rule_that_stops_most_customers_comes_first() -> None:
    counts = EmptyCounts(empty=3)
    rare, often = StoppedBy("consent", "marketing", None), StoppedBy("eligibility", "age", "group cards")
    counts.offers.update({rare: 10, often: 5})
    counts.customers.update({rare: 1, often: 2})
    report = counts.report(10, 4)
    assert [rule["name"] for rule in report["rules"]] == ["age", "marketing"]
    assert (report["share"], report["explained"], report["without_offer"]) == (0.4, 3, 4)
    assert report["low"] < 0.4 < report["high"]


def test_the_list_of_rules_is_bounded() -> None:
    counts = EmptyCounts()
    counts.offers.update({StoppedBy("eligibility", f"rule {n}", None): 1 for n in range(MAX_RULES + 7)})
    report = counts.report(0, 0)
    assert (len(report["rules"]), report["more_rules"], report["share"]) == (MAX_RULES, 7, None)

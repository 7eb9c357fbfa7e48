"""The acceptance report: rates of the counted rows, and how groups differ from the champion's customers. Pure."""

from collections.abc import Sequence
from typing import Any

from bandits.intervals import newcombe_interval, wilson_interval
from bandits.policy import PolicyKey


def add_rates(rows: Sequence[dict[str, Any]], by: Sequence[str]) -> None:
    """Add to rows of counts, grouped ``by`` dimensions, their rates with Wilson 95 % intervals.

    Rates are of offers whose reward window is closed. Of those that are ``open`` acceptances are told at once, and
    silence only when the window closes, so nothing of them enters a rate. A policy ``name@version`` is split into both.
    By group, each row also gets its difference from the champion's.
    """
    for row in rows:
        observed = row["accepted_closed"] + row["rejected_closed"] + row["ignored"]
        rate, low, high = wilson_interval(row["accepted_closed"], observed)
        is_open = row["decided"] - observed - row["unobserved"]
        row |= {"observed": observed, "open": is_open, "rate": rate, "low": low, "high": high}
        if "policy" in row:
            policy = PolicyKey.parse(row["policy"])
            row |= {"policy": policy.name, "version": policy.version}
    if "group" in by:
        # Each group has a policy of its own: by policy there would be nothing to compare with.
        _add_differences(rows, [dimension for dimension in by if dimension not in ("group", "policy")])


def _add_differences(rows: Sequence[dict[str, Any]], alike: Sequence[str]) -> None:
    """Add to each row how it differs from the champion's rows that have the same ``alike``."""
    names = ["offer_id" if dimension == "offer" else dimension for dimension in alike]
    champions: dict[tuple[Any, ...], tuple[int, int]] = {}
    for row in rows:
        if row["group"] == "champion":
            key = tuple(row[name] for name in names)
            accepted, observed = champions.get(key, (0, 0))
            champions[key] = (accepted + row["accepted_closed"], observed + row["observed"])
    for row in rows:
        accepted, observed = champions.get(tuple(row[name] for name in names), (0, 0))
        difference, low, high = newcombe_interval(row["accepted_closed"], row["observed"], accepted, observed)
        lift = None if difference is None or not accepted else difference / (accepted / observed)
        row |= {"lift": lift, "difference": difference, "difference_low": low, "difference_high": high}

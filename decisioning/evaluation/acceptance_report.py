"""The acceptance report: rates of the counted rows, and how groups differ from the champion's customers. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bandits.intervals import known, newcombe_intervals, wilson_intervals
from bandits.policy import PolicyKey


def add_rates(rows: Sequence[dict[str, Any]], by: Sequence[str]) -> None:
    """Add to rows of counts, grouped ``by`` dimensions, their rates with Wilson 95 % intervals.

    Rates are of offers whose reward window is closed. Of those that are ``open`` acceptances are told at once, and
    silence only when the window closes, so nothing of them enters a rate. A policy ``name@version`` is split into both.
    By group, each row also gets its difference from the champion's.
    """
    accepted = np.array([row["accepted_closed"] for row in rows], np.int64)
    closed = accepted + np.array([row["rejected_closed"] + row["ignored"] for row in rows], np.int64)
    rates = (known(column) for column in wilson_intervals(accepted.astype(float), closed.astype(float)))
    for row, observed, rate, low, high in zip(rows, closed.tolist(), *rates, strict=True):
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
    of_champion = [champions.get(tuple(row[name] for name in names), (0, 0)) for row in rows]
    counts = [
        (row["accepted_closed"], row["observed"], *counted)
        for row, counted in zip(rows, of_champion, strict=True)
    ]
    differences = newcombe_intervals(*np.array(counts, float).reshape(-1, 4).T)
    found = zip(rows, of_champion, *(known(column) for column in differences), strict=True)
    for row, (accepted, observed), difference, low, high in found:
        lift = None if difference is None or not accepted else difference / (accepted / observed)
        row |= {"lift": lift, "difference": difference, "difference_low": low, "difference_high": high}

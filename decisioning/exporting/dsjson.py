"""Decisions in the dsjson of Vowpal Wabbit: a line of JSON for each slot whose reward and probability are known.

``_label_cost`` is the reward with its sign turned, ``_label_probability`` the logged probability, ``_label_Action`` the
chosen action counted from 1 and ``_labelIndex`` from 0. ``a`` lists actions, the chosen one first, and ``p`` their
probabilities in that order. Only the first of these is logged; the others share the rest equally, so that they add up
to 1. Learners of contextual bandits use the label alone. ``c`` holds the facts as namespaces, and in ``_multi`` a
namespace for each action; ``o`` what was observed.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bandits.feature_columns import category_texts
from storage.clock import to_iso

MAX_NUMBER = 3.4e38
"""About the largest number in single precision."""


def dsjson_line(row: Mapping[str, Any]) -> str | None:
    """Write one row of exported decisions; ``None`` if it cannot be learned from.

    That is an open window, no observation, an unknown probability, or an offer that is not among the candidates.
    """
    usable = row["closed"] and row["reward"] is not None and row["probability"] is not None
    if not usable or row["offer_id"] not in row["candidates"]:
        return None
    chosen, n = row["candidates"].index(row["offer_id"]), len(row["candidates"])
    probability, reward = row["probability"], row["reward"]
    others = [action for action in range(n) if action != chosen]
    rest = [(1.0 - probability) / len(others)] * len(others) if others else []
    event = row["decision_id"] if row["rank"] == 1 else f"{row['decision_id']}:{row['rank']}"
    line = {
        "_label_cost": -reward,
        "_label_probability": probability,
        "_label_Action": chosen + 1,
        "_labelIndex": chosen,
        "o": [{"v": reward, "EventId": event, "ActionTaken": row["presented"]}],
        "Timestamp": to_iso(row["decided_at"]),
        "Version": "1",
        "EventId": event,
        "a": [chosen + 1, *(action + 1 for action in others)],
        "c": _namespaces(json.loads(row["facts"]))
        | {
            "_multi": [
                {"Offer": {"id": offer_id} | ({} if base is None else {"propensity": base})}
                for offer_id, base in zip(row["candidates"], row["candidate_propensities"], strict=True)
            ]
        },
        "p": [probability, *rest],
        "VWState": {"m": "N/A"},
    }
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False)


def _namespaces(facts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Group facts by the first part of their paths: a namespace each. What is missing is left out."""
    found: dict[str, dict[str, Any]] = {}
    for path, value in facts.items():
        first, _, rest = path.partition(".")
        if rest:
            # A leading underscore would make it a name that the format reserves.
            found.setdefault(first.lstrip("_").capitalize(), {}).update(_features(rest.lstrip("_"), value))
    return found


def _features(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the features of a fact: one for each item of a list, and for each value in an object.

    The parser takes no list but of numbers, which it would read as one number for each position; and it keeps numbers
    in single precision, where one that is too large becomes infinite and spoils the model: these are left out.
    """
    if isinstance(value, Mapping):
        for part, inner in value.items():
            yield from _features(f"{name}.{part}", inner)
    elif isinstance(value, list):
        for item in category_texts(value) or ():
            yield f"{name}={item}", True
    elif isinstance(value, str) or (value is not None and abs(value) <= MAX_NUMBER):
        yield name, value

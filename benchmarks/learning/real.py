"""Real data turned into streams. The files are not part of the project: ``--data`` names their folder.

**Bank products** (UCI Bank Marketing, CC BY 4.0: Moro, Cortez and Rita, *A data-driven approach to predict the success
of bank telemarketing*, Decision Support Systems 62, 2014). The campaign had one product and no random choice, so
nobody knows what another choice would have brought. It becomes a bandit as classification data sets do (Bietti,
Agarwal and Langford, *A contextual bandit bake-off*, JMLR 22, 2021): by labels that are known for every row. Each row
is a customer to whom one of three products can be offered; it is accepted if the row says that the customer has it (a
housing loan, a personal loan) or took it in the end (the term deposit). Rows stay in date order, so the deposit's
acceptance drifts from 3 % to 46 %, from the first to the last tenth. Features: what is known before the call, but for
the loans, and for the day of the week and payments overdue, since features may have 64 columns. ``duration`` is known
only afterwards, and is dropped as the file is read.

**Bank scripts**: each row is a customer who can be read one of 12 scripts for the term deposit, each written for one
occupation. It is accepted if the customer took the deposit and the script is that of their occupation, which the
features do not tell (age, education and the rest do, in part). Few are accepted: it is here for its many offers,
rare acceptance and strong drift.

In both, each seed is another tenth of the rows (every tenth one), in date order.

**Open Bandit** (Saito, Aihara, Matsutani and Narita, arXiv 2008.07146): the log of a policy that chose uniformly at
random, with 38 to 69 clicks in 10,000 rows. All rows teach; a policy is judged on the rows in which it chooses what was
logged (Li, Chu, Langford and Wang, *Unbiased offline evaluation of contextual-bandit-based news article
recommendation algorithms*, WSDM 2011). That leaves some hundred rows, so its intervals are wide: it can show that a
policy works on a real log, not which one is better. Each seed is a random half of the rows, in order.
"""

import csv
import lzma
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bandits.features import Encoder, Feature
from bandits.policy import FloatArray
from benchmarks.learning.rounds import Rounds, Stream
from benchmarks.machine import BenchError

BANK = Path("bank_marketing") / "bank-additional-full.csv.xz"
OPEN_BANDIT = Path("open_bandit_small") / "random" / "men" / "men.csv.xz"
PARTS = 10

# Ranges as somebody who knows the bank would declare them: online scaling is not what is compared here.
NUMBERS = {
    "age": (18, 80),
    "campaign": (1, 10),
    "previous": (0, 4),
    "emp.var.rate": (-3.5, 1.5),
    "cons.price.idx": (92, 95),
    "cons.conf.idx": (-51, -26),
    "euribor3m": (0.5, 5.1),
    "nr.employed": (4960, 5230),
}
CATEGORIES = ("marital", "education", "contact", "month", "poutcome")


def bank_products(data: Path, seed: int) -> Rounds:
    """Three products; reward: has it, or took it."""
    rows = _bank(data)[seed % PARTS :: PARTS]
    labels = np.array([[row[name] == "yes" for name in ("housing", "loan", "y")] for row in rows])
    return _labelled(rows, (*CATEGORIES, "job"), labels.astype(np.float64))


def bank_scripts(data: Path, seed: int) -> Rounds:
    """Twelve scripts, one for each occupation; reward: took the deposit, and the script is the right one."""
    whole = _bank(data)
    rows = whole[seed % PARTS :: PARTS]
    jobs = sorted({row["job"] for row in whole})
    labels = np.array([[row["y"] == "yes" and row["job"] == job for job in jobs] for row in rows])
    return _labelled(rows, (*CATEGORIES, "housing", "loan"), labels.astype(np.float64))


def open_bandit(data: Path, seed: int) -> Rounds:
    """34 items, logged uniformly at random; the features are the customer's four hashed categories and the position."""
    rows = _open_bandit(data)
    kept = np.sort(np.random.default_rng([9, seed]).permutation(len(rows))[: len(rows) // 2])
    names = [f"user_feature_{number}" for number in range(4)] + ["position"]
    features = _categories(rows, names)
    logged = np.array([int(rows[row]["item_id"]) for row in kept])
    rewards = np.zeros((len(kept), 1 + max(int(row["item_id"]) for row in rows)))
    rewards[np.arange(len(kept)), logged] = [float(rows[row]["click"]) for row in kept]
    return _rounds([rows[row] for row in kept], features, rewards, logged=logged)


def _labelled(rows: list[dict[str, str]], categories: Iterable[str], rewards: FloatArray) -> Rounds:
    features = [
        _feature(name.replace(".", "_"), "numeric", name, low=low, high=high, default=low)
        for name, (low, high) in NUMBERS.items()
    ]
    return _rounds(rows, [*features, *_categories(rows, categories)], rewards)


def _categories(rows: list[dict[str, str]], names: Iterable[str]) -> list[Feature]:
    """One-hot features of all values that occur."""
    return [
        _feature(name, "category", name, values=tuple(sorted({row[name] for row in rows}))) for name in names
    ]


def _feature(name: str, kind: Literal["numeric", "category"], column: str, **more: Any) -> Feature:
    return Feature(name, kind, f"customer.{column}", **more)


def _rounds(
    rows: list[dict[str, str]], features: list[Feature], rewards: FloatArray, logged: Any = None
) -> Rounds:
    facts = [_facts(row, features) for row in rows]
    encoder = Encoder(tuple(features))
    x = np.array([encoder.encode(row, 0) for row in facts])
    return Rounds(
        x=x[:, x.any(axis=0)],  # the columns for unknown values are empty: others need not carry them
        features=tuple(features),
        facts=facts,
        expected=rewards,
        rewards=rewards,
        since=np.zeros(rewards.shape[1], dtype=np.intp),
        logged=logged,
        drifts=logged is None,
    )


def _facts(row: Mapping[str, str], features: Iterable[Feature]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for feature in features:
        assert feature.path is not None
        value = row[feature.path.partition(".")[2]]
        facts[feature.path] = float(value) if feature.kind == "numeric" else value
    return facts


@cache
def _bank(data: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "duration"} for row in _read(data / BANK, ";")]


@cache
def _open_bandit(data: Path) -> list[dict[str, str]]:
    return sorted(
        _read(data / OPEN_BANDIT, ","),
        key=lambda row: datetime.fromisoformat(row["timestamp"]).astimezone(UTC),
    )


def _read(path: Path, delimiter: str) -> list[dict[str, str]]:
    try:
        with lzma.open(path, "rt", newline="") as file:
            return list(csv.DictReader(file, delimiter=delimiter))
    except OSError as error:
        raise BenchError(
            f"{path} cannot be read ({error.strerror}); --data names the folder it is in"
        ) from error


def streams(data: Path) -> tuple[Stream, ...]:
    """The streams of a folder with ``bank_marketing`` and ``open_bandit_small`` in it."""

    def of(make: Callable[[Path, int], Rounds]) -> Callable[[int], Rounds]:
        return lambda seed: make(data, seed)

    return (
        Stream("bank products", "3 products, real customers in date order", of(bank_products)),
        Stream("bank scripts", "12 scripts, real customers in date order", of(bank_scripts)),
        Stream("Open Bandit", "a real log, 34 items, replayed", of(open_bandit), subsampled=True),
    )

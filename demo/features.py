"""Features of a household, and of a household facing a campaign, as known strictly before a given day.

Every function takes the day (`as_of`) and looks at nothing on or after it, so a model fitted with these
columns cannot see its own outcome, and a customer loaded with them knows nothing after the cut-off.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from demo.journey import DATA_START, Floats, Ints, Journey, Transactions

WINDOW_DAYS = 84
OTHER = "OTHER"
# The departments that hold 99 % of spend; the remaining ones are small and are counted together.
DEPARTMENTS = (
    "GROCERY", "DRUG GM", "FUEL", "PRODUCE", "MEAT", "MEAT-PCKGD", "DELI", "MISCELLANEOUS", "PASTRY", "NUTRITION",
    "SEAFOOD-PCKGD", "FLORAL", "COSMETICS", "SALAD BAR", OTHER,
)  # fmt: skip
COLUMNS = (
    "log_recency", "log_frequency", "log_spend", "department_affinity", "log_coupon_spend", "log_past_redemptions",
    "demographics_known", "type_a", "type_c",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Habits:
    """Shopping of each household before a day. Rates are per week of the window of up to `WINDOW_DAYS` days.

    `recency_days` counts from the last purchase ever seen (NaN: none), `frequency` baskets, `spend` dollars (shape:
    households); `shares` are the departments' parts of spend (households x DEPARTMENTS, rows sum to 1 or 0); `lines`
    are the purchases inside the window, lasting `weeks`.
    """

    recency_days: Floats
    frequency: Floats
    spend: Floats
    shares: Floats
    lines: Transactions
    weeks: float


def department_groups(journey: Journey) -> Ints:
    """Find the position in DEPARTMENTS of every product."""
    index = {name: position for position, name in enumerate(DEPARTMENTS)}
    other = index[OTHER]
    groups = np.array([index.get(name, other) for name in journey.departments], dtype=np.int64)
    return groups[journey.department]


def habits_before(journey: Journey, as_of: np.datetime64, window_days: int = WINDOW_DAYS) -> Habits:
    """Compute habits from transactions strictly before `as_of`. Raises ValueError when there can be none."""
    if as_of <= DATA_START:
        raise ValueError(f"no transactions before {as_of}")
    count = len(journey.households)
    past = journey.transactions.before(as_of)
    latest = np.full(count, -1, dtype=np.int64)
    np.maximum.at(latest, past.household, (past.day - DATA_START).astype(np.int64))
    observed = int((as_of - DATA_START).astype(np.int64))
    recency = np.where(latest >= 0, observed - latest, np.nan)

    days = min(observed, window_days)
    weeks = days / 7
    lines = past.where(past.day >= as_of - np.timedelta64(days, "D"))
    # A basket has many lines, and counts once.
    _, one_line_each = np.unique(lines.basket, return_index=True)
    groups = len(DEPARTMENTS)
    cell = lines.household * groups + department_groups(journey)[lines.product]
    by_department = np.bincount(cell, lines.sales_value, count * groups).reshape(count, groups)
    total = by_department.sum(axis=1, keepdims=True)
    return Habits(
        recency_days=recency,
        frequency=np.bincount(lines.household[one_line_each], minlength=count) / weeks,
        spend=total[:, 0] / weeks,
        shares=np.divide(by_department, total, out=np.zeros_like(by_department), where=total > 0),
        lines=lines,
        weeks=weeks,
    )


def campaign_mix(journey: Journey) -> Floats:
    """Compute the departments' parts of each campaign's products (campaigns x DEPARTMENTS; rows sum to 1)."""
    mix = np.zeros((len(journey.campaigns), len(DEPARTMENTS)))
    np.add.at(mix, (journey.coupons.campaign, department_groups(journey)[journey.coupons.product]), 1.0)
    return np.asarray(mix / mix.sum(axis=1, keepdims=True), dtype=np.float64)


def coupon_spend(journey: Journey, habits: Habits, campaign: int) -> Floats:
    """Sum each household's dollars a week on products of the campaign's coupons. Shape: households."""
    covered = np.zeros(len(journey.department), dtype=np.bool_)
    covered[journey.coupons.product[journey.coupons.campaign == campaign]] = True
    hits = covered[habits.lines.product]
    spent = np.bincount(
        habits.lines.household[hits], habits.lines.sales_value[hits], minlength=len(journey.households)
    )
    return np.asarray(spent / habits.weeks, dtype=np.float64)


def past_redemptions(journey: Journey, as_of: np.datetime64) -> Floats:
    """Count the campaigns of which each household had redeemed strictly before the day. Shape: households."""
    accepted = journey.exposures.accepted < as_of  # NaT compares false
    counts = np.bincount(journey.exposures.household[accepted], minlength=len(journey.households))
    return counts.astype(np.float64)


def design_matrix(journey: Journey, habits: Habits, as_of: np.datetime64, campaign: int) -> Floats:
    """Describe every household facing one campaign (households x COLUMNS), given its `habits` before `as_of`."""
    count = len(journey.households)
    # A household never seen counts as having shopped before the data begins.
    unseen = float((as_of - DATA_START).astype(np.int64)) + 1
    known = np.array([int(who) in journey.demographics for who in journey.households], dtype=np.float64)
    kind = journey.campaigns.type[campaign]
    columns: dict[str, npt.ArrayLike] = {
        "log_recency": np.log1p(np.where(np.isnan(habits.recency_days), unseen, habits.recency_days)),
        "log_frequency": np.log1p(habits.frequency),
        "log_spend": np.log1p(np.maximum(habits.spend, 0.0)),
        "department_affinity": habits.shares @ campaign_mix(journey)[campaign],
        "log_coupon_spend": np.log1p(np.maximum(coupon_spend(journey, habits, campaign), 0.0)),
        "log_past_redemptions": np.log1p(past_redemptions(journey, as_of)),
        "demographics_known": known,
        "type_a": np.full(count, float(kind == "A")),
        "type_c": np.full(count, float(kind == "C")),
    }
    return np.column_stack([np.asarray(columns[name], dtype=np.float64) for name in COLUMNS])

"""Campaigns as offers: windows moved to end today, a value from what redemptions brought, and wording.

An offer's value is what one accepted exposure brought the store: the sales of the redeemed coupons' own
products to that household on the days it redeemed them. It is an amount of sales in dollars, not of profit,
and says nothing of what the household would have bought anyway. Only redemptions before the cut-off count.
A campaign's mean is shrunk towards its type's mean, and that towards the overall mean, each with the weight
of `PRIOR_WEIGHT` acceptances; campaigns without redemptions before the cut-off get their type's mean.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from demo.journey import CUT_OFF, DATA_END, Floats, Journey, Redemptions
from demo.names import offer_id

PRIOR_WEIGHT = 10.0
TYPES = ("A", "B", "C")
# What most coupons of a campaign are for, worded after the product categories in the data. Households sent
# a type A campaign got coupons picked for them from a pool of about two hundred.
THEMES = {
    1: "cheese and frozen dinners",
    2: "frozen pizza and bread",
    3: "soap and body care",
    4: "baking",
    5: "baby food and formula",
    6: "yogurt",
    7: "oral care",
    8: "your usual groceries, early summer",
    9: "frozen dinners and cereal",
    10: "baby food and nappies",
    11: "school supplies",
    12: "breakfast",
    13: "your usual groceries, late summer",
    14: "hair and body care",
    15: "cat food",
    16: "make-up and cold remedies",
    17: "frozen dinners and pizza",
    18: "your usual groceries, holidays",
    19: "baby food and formula, winter",
    20: "soap and laundry",
    21: "cooking oil and seafood",
    22: "desserts, cheese and party supplies",
    23: "frozen dinners and vitamins",
    24: "soap and hair care",
    25: "cheese and frozen pizza",
    26: "dinners, yogurt and soft drinks",
    27: "your usual groceries, spring",
}


@dataclass(frozen=True, slots=True)
class OfferWording:
    """Wording of an offer in one channel."""

    id: str
    channel: str
    title: str
    message: str


@dataclass(frozen=True, slots=True)
class CampaignOffer:
    """One campaign, ready to be created. `starts_at` is included in the window, `ends_at` is not."""

    id: str
    name: str
    theme: str
    group: str
    value: float
    starts_at: datetime
    ends_at: datetime
    treatments: tuple[OfferWording, ...]

    def live_at(self, moment: datetime) -> bool:
        """Return whether the moment lies in the window."""
        return self.starts_at <= moment < self.ends_at


def shift_to(today: date) -> timedelta:
    """Compute the shift of all dates by which the data's last day becomes `today`: a whole number of days."""
    last: date = DATA_END.astype(object)
    return today - last


def moved(day: np.datetime64, shift: timedelta) -> datetime:
    """Return midnight UTC at the start of a day of the data, moved by `shift`."""
    original: date = day.astype(object)
    return datetime(original.year, original.month, original.day, tzinfo=UTC) + shift


def acceptance_sales(journey: Journey, redemptions: Redemptions) -> dict[tuple[int, int], float]:
    """Sum the dollars of the redeemed coupons' products that each accepted exposure brought on its redemption days.

    Keys are (household, campaign) positions. A purchase line counts once, however many coupons cover it.
    Acceptances whose products do not appear in that day's purchases (one in eight coupons) are left out.
    """
    products: dict[tuple[int, int], set[int]] = defaultdict(set)
    coupons = journey.coupons
    wanted = np.isin(coupons.coupon, redemptions.coupon)
    for coupon, campaign, product in zip(
        coupons.coupon[wanted].tolist(),
        coupons.campaign[wanted].tolist(),
        coupons.product[wanted].tolist(),
        strict=True,
    ):
        products[coupon, campaign].add(product)

    baskets = _lines_by_household_day(journey, redemptions)
    covered: dict[tuple[int, int, int], set[int]] = defaultdict(set)
    days = redemptions.day.astype(np.int64).tolist()
    for household, campaign, coupon, day in zip(
        redemptions.household.tolist(),
        redemptions.campaign.tolist(),
        redemptions.coupon.tolist(),
        days,
        strict=True,
    ):
        covered[household, campaign, day] |= products[coupon, campaign]
    sales: dict[tuple[int, int], float] = defaultdict(float)
    for (household, campaign, day), good_for in covered.items():
        for product, value in baskets.get((household, day), ()):
            if product in good_for:
                sales[household, campaign] += value
    return dict(sales)


def _lines_by_household_day(
    journey: Journey, redemptions: Redemptions
) -> dict[tuple[int, int], list[tuple[int, float]]]:
    """Find the purchase lines (product, dollars) of the households and days on which a coupon was redeemed."""
    lines = journey.transactions
    key = lines.household * 100_000 + lines.day.astype(np.int64)
    wanted = np.isin(key, redemptions.household * 100_000 + redemptions.day.astype(np.int64))
    found: dict[tuple[int, int], list[tuple[int, float]]] = defaultdict(list)
    chosen = lines.where(wanted)
    for household, day, product, value in zip(
        chosen.household.tolist(),
        chosen.day.astype(np.int64).tolist(),
        chosen.product.tolist(),
        chosen.sales_value.tolist(),
        strict=True,
    ):
        found[household, day].append((product, value))
    return found


def offer_values(journey: Journey) -> Floats:
    """Value each campaign in dollars an acceptance, by what was known at the cut-off. Shape: campaigns."""
    early = journey.redemptions.where(journey.redemptions.day < CUT_OFF)
    known = journey.with_transactions(journey.transactions.before(CUT_OFF))
    count = len(journey.campaigns)
    total, number = np.zeros(count), np.zeros(count)
    for (_, campaign), sales in acceptance_sales(known, early).items():
        total[campaign] += sales
        number[campaign] += 1
    kinds = np.array(journey.campaigns.type)
    overall = total.sum() / number.sum()
    values = np.zeros(count)
    for kind in TYPES:
        own = kinds == kind
        of_type = _shrink(total[own].sum(), number[own].sum(), overall)
        values[own] = _shrink(total[own], number[own], of_type)
    return values


def _shrink(total: npt.ArrayLike, number: npt.ArrayLike, towards: npt.ArrayLike) -> Floats:
    """Shrink the mean of `number` amounts towards a prior mean with the weight of PRIOR_WEIGHT amounts."""
    evidence = np.asarray(total, dtype=np.float64) + PRIOR_WEIGHT * np.asarray(towards, dtype=np.float64)
    return evidence / (np.asarray(number, dtype=np.float64) + PRIOR_WEIGHT)


def build_offers(journey: Journey, today: date) -> list[CampaignOffer]:
    """Build the 27 offers in order of campaign id, with windows such that the data ends `today`."""
    shift = shift_to(today)
    campaigns = journey.campaigns
    values = offer_values(journey)
    offers = []
    for position, number in enumerate(campaigns.id.tolist()):
        offers.append(
            CampaignOffer(
                id=offer_id(number),
                name=f"Campaign {number}: {THEMES[number]}",
                theme=THEMES[number],
                group=f"type-{campaigns.type[position].lower()}",
                value=round(float(values[position]), 2),
                starts_at=moved(campaigns.start[position], shift),
                ends_at=moved(campaigns.end[position] + np.timedelta64(1, "D"), shift),
                treatments=_treatments(offer_id(number), THEMES[number]),
            )
        )
    return offers


def _treatments(offer: str, theme: str) -> tuple[OfferWording, ...]:
    title = f"Coupons: {theme}"
    wordings = {
        "web": "Load them onto your card and save on your next visit.",
        "agent": f"Say that coupons for {theme} can be loaded onto the card right now, at no cost.",
        "mail": "Your coupons are enclosed.",
    }
    return tuple(
        OfferWording(f"{offer}-{channel}", channel, title, message) for channel, message in wordings.items()
    )

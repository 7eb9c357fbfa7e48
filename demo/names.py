"""The ids that the demo gives to households, campaigns and placements."""

import numpy as np
import numpy.typing as npt

from demo.journey import Journey

WEB = "web-home"
DESK = "service-desk"
MAILER = "coupon-mailer"
FOLLOW_UP = "follow-up-mail"
HOLDOUT = "no-coupons"
PURCHASE = "purchase"
# The policies beside the champion of the web.
SHADOW = "habits"
CANARY = "by-type"
# Visitors answer within a few seconds, so silence is known soon.
REWARD_WINDOW_S = 5
# The channel of each placement.
CHANNELS = {WEB: "web", DESK: "agent", MAILER: "mail", FOLLOW_UP: "mail"}


def customer_id(household: int | np.int64) -> str:
    """Make the customer id of a household number of the data."""
    return f"household-{int(household)}"


def customer_ids(journey: Journey) -> npt.NDArray[np.str_]:
    """Make the customer ids of all households, in their order."""
    return np.array([customer_id(household) for household in journey.households])


def offer_id(campaign: int | np.int64) -> str:
    """Make the offer id of a campaign number of the data."""
    return f"campaign-{int(campaign):02d}"

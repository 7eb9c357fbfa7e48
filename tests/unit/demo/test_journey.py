"""The counts that the documentation states, and the calendar of the data."""

import numpy as np
import pytest

from demo import journey as module
from demo.journey import CUT_OFF, DATA_END, Journey, JourneyMissing, data_folder, local_day


def test_table_sizes(journey: Journey) -> None:
    assert len(journey.households) == 2469
    assert len(journey.campaigns) == 27
    assert [journey.campaigns.type.count(kind) for kind in "ABC"] == [4, 17, 6]
    assert len(journey.transactions.day) == 1_469_307
    assert len(journey.redemptions.day) == 2102
    assert len(journey.demographics) == 801
    assert len(np.unique(journey.exposures.household)) == 1559


def test_several_coupons_of_a_campaign_are_one_accepted_exposure(journey: Journey) -> None:
    exposures = journey.exposures
    pairs = set(zip(exposures.household.tolist(), exposures.campaign.tolist(), strict=True))
    assert len(exposures) == len(pairs) == 6589
    assert int((~np.isnat(exposures.accepted)).sum()) == 792
    key = journey.redemptions.household * 100 + journey.redemptions.campaign
    for position in np.flatnonzero(~np.isnat(exposures.accepted))[::50]:
        mine = key == exposures.household[position] * 100 + exposures.campaign[position]
        assert journey.redemptions.day[mine].min() == exposures.accepted[position]


@pytest.mark.parametrize(
    ("side", "campaigns", "exposures", "accepted"),
    [("over", 13, 2343, 252), ("later", 13, 4123, 530), ("open", 1, 123, 10)],
)
def test_the_cut_off_splits_the_exposures_as_documented(
    journey: Journey, side: str, campaigns: int, exposures: int, accepted: int
) -> None:
    over, later = journey.campaigns.end < CUT_OFF, journey.campaigns.start >= CUT_OFF
    chosen = {"over": over, "later": later, "open": ~over & ~later}[side]
    rows = chosen[journey.exposures.campaign]
    assert (int(chosen.sum()), int(rows.sum())) == (campaigns, exposures)
    assert int((~np.isnat(journey.exposures.accepted[rows])).sum()) == accepted


def test_every_redemption_falls_on_a_shopping_day_in_local_time(journey: Journey) -> None:
    lines, redeemed = journey.transactions, journey.redemptions
    shopped = lines.household * 100_000 + lines.day.astype(np.int64)
    assert np.isin(redeemed.household * 100_000 + redeemed.day.astype(np.int64), shopped).all()
    assert lines.day.max() == redeemed.day.max() == DATA_END


def test_local_day_follows_daylight_saving() -> None:
    utc = np.array(["2017-01-05T04:59", "2017-01-05T05:00", "2017-07-05T03:59", "2017-07-05T04:00"], "M8[s]")
    assert local_day(utc).astype(str).tolist() == ["2017-01-04", "2017-01-05", "2017-07-04", "2017-07-05"]


def test_redemptions_stay_inside_their_campaigns_window(journey: Journey) -> None:
    redeemed, campaigns = journey.redemptions, journey.campaigns
    assert (redeemed.day >= campaigns.start[redeemed.campaign]).all()
    assert (redeemed.day <= campaigns.end[redeemed.campaign]).all()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no_such_package_here")
    with pytest.raises(JourneyMissing, match=r"nextbest\[demo\]"):
        data_folder()

"""The real data, read once for all tests of the demo. Arrays are frozen so that no test can change them."""

import pytest

from demo.journey import Floats, Journey, load_journey
from demo.propensity import Fitted, fit_propensity, propensities


@pytest.fixture(scope="session")
def journey() -> Journey:
    loaded = load_journey()
    for table in (loaded.transactions, loaded.redemptions, loaded.exposures, loaded.coupons):
        for name in table.__slots__:
            getattr(table, name).flags.writeable = False
    return loaded


@pytest.fixture(scope="session")
def fitted(journey: Journey) -> Fitted:
    return fit_propensity(journey)


@pytest.fixture(scope="session")
def scores(journey: Journey, fitted: Fitted) -> Floats:
    return propensities(journey, fitted)

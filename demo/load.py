"""The set-up of the service over HTTP: the catalogue, then the files, through the imports that anybody uses."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from demo import purchases, steering
from demo.client import ApiClient, DemoError, Json
from demo.customers import write_customers
from demo.history import HistoryCounts, write_history
from demo.journey import DATA_END, Journey, load_journey
from demo.names import CHANNELS, DESK, MAILER, REWARD_WINDOW_S, WEB, customer_ids
from demo.offers import TYPES, CampaignOffer, build_offers
from demo.propensity import Quality, fit_propensity, propensities, quality, write_propensities
from demo.purchases import Purchases
from demo.report import is_history
from demo.response import AnswerModel, build_answer_model
from demo.visitors import Crowd

KINDS = ("customers", "propensities", "history")
# Coupons by mail were redeemed over months.
MAILER_WINDOW_S = 180 * 86_400
CONTROL_SHARE = 0.2
CONTACT_LIMIT = {"max": 3, "window_s": 60}
# A multiple of 27, the propensities of a customer: parts end between customers.
UPLOAD_BATCH_SIZE = 8_100
DRAIN_TIMEOUT_S = 60.0
POLL_S = 0.2
STEADY_POLLS = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class DemoData:
    """Everything computed from the data before anything is served."""

    offers: list[CampaignOffer]
    files: dict[str, Path]
    rows: dict[str, int]
    history: HistoryCounts
    quality: Quality
    crowd: Crowd
    answers: AnswerModel
    purchases: Purchases

    def summary(self) -> Json:
        """Collect the counts and the model's measured quality, for the report."""
        return {
            "rows": self.rows,
            "purchases_before": len(self.purchases.before),
            "history": asdict(self.history),
            "propensity_model": asdict(self.quality),
            "odds_factor_of_simulated_answers": round(self.answers.odds_factor, 3),
        }


def prepare(folder: Path, today: date) -> DemoData:
    """Read the data, fit the models and write the import files into `folder`."""
    journey = load_journey()
    fitted = fit_propensity(journey)
    scores = propensities(journey, fitted)
    offers = build_offers(journey, today)
    answers = build_answer_model(journey, _is_live(journey))
    files = {kind: folder / f"{kind}.parquet" for kind in KINDS}
    history = write_history(journey, scores, today, files["history"])
    rows = {
        "customers": write_customers(journey, files["customers"]),
        "propensities": write_propensities(journey, scores, files["propensities"]),
        "history": history.rows,
    }
    crowd = Crowd(
        customers=customer_ids(journey).tolist(),
        offers={offer.id: column for column, offer in enumerate(offers)},
        acceptance=answers.acceptance,
        values=[offer.value for offer in offers],
    )
    return DemoData(
        offers=offers,
        files=files,
        rows=rows,
        history=history,
        quality=quality(journey, fitted, scores),
        crowd=crowd,
        answers=answers,
        purchases=purchases.build_purchases(journey, today),
    )


def _is_live(journey: Journey) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Mark the campaigns whose window holds the last day of the data."""
    return np.asarray((journey.campaigns.start <= DATA_END) & (journey.campaigns.end >= DATA_END))


def catalogue_requests(offers: list[CampaignOffer]) -> Iterator[tuple[str, Json]]:
    """Yield path and body of every PUT, in an order in which each finds what it refers to."""
    yield from steering.before_offers()
    yield from purchases.before_offers()
    for kind in TYPES:
        # The data does not say what the types were meant to achieve; they are all taken as growth.
        yield f"/v1/groups/type-{kind.lower()}", {"name": f"Campaigns of type {kind}", "goal": "grow"}
    for offer in offers:
        yield (
            f"/v1/offers/{offer.id}",
            {
                "name": offer.name,
                "group": offer.group,
                "value": offer.value,
                "starts_at": offer.starts_at.isoformat(),
                "ends_at": offer.ends_at.isoformat(),
                "contact_limits": [CONTACT_LIMIT],
                "after_rejection": [{"for_s": steering.AFTER_REJECTION_S, "scope": "offer"}],
                "rules": steering.rules_of(offer.id),
            },
        )
        for treatment in offer.treatments:
            yield (
                f"/v1/offers/{offer.id}/treatments/{treatment.id}",
                {
                    "channel": treatment.channel,
                    "language": "en",
                    "title": treatment.title,
                    "message": treatment.message,
                    "script": steering.script(offer.theme) if treatment.channel == CHANNELS[DESK] else None,
                },
            )
    yield from steering.after_offers()
    shared = {"policy": "calibrated", "control_policy": "random", "control_share": CONTROL_SHARE}
    live = {**shared, "deadline_ms": 250, "reward_window_s": REWARD_WINDOW_S}
    yield f"/v1/placements/{WEB}", {**live, "channel": CHANNELS[WEB], "slots": 3, "presentation": "implicit"}
    yield (
        f"/v1/placements/{DESK}",
        {**live, "channel": CHANNELS[DESK], "slots": 1, "presentation": "explicit"},
    )
    yield (
        f"/v1/placements/{MAILER}",
        {**shared, "channel": CHANNELS[MAILER], "slots": 1, "reward_window_s": MAILER_WINDOW_S},
    )
    yield purchases.follow_up_placement(REWARD_WINDOW_S)


async def create_catalogue(api: ApiClient, offers: list[CampaignOffer], progress: Progress) -> int:
    """PUT everything; return the number of things. Raises DemoError."""
    steps = list(catalogue_requests(offers))
    for done, (path, body) in enumerate(steps, start=1):
        await api.put(path, body)
        progress(done, len(steps))
    return len(steps)


async def import_file(api: ApiClient, kind: str, path: Path, progress: Progress) -> int:
    """Upload a file in parts, to show progress; returns the rows loaded. Raises DemoError if any row is refused."""
    total = await asyncio.to_thread(lambda: int(pq.read_metadata(path).num_rows))
    loaded = 0
    for start in range(0, total, UPLOAD_BATCH_SIZE):
        part = await asyncio.to_thread(_write_part, path, start)
        answer = await api.upload(kind, part)
        if answer["refused"]:
            raise DemoError(f"import of {kind} refused {answer['refused']} rows: {answer['refusals'][:3]}")
        loaded += int(answer["loaded"])
        progress(min(start + UPLOAD_BATCH_SIZE, total), total)
    return loaded


def _write_part(path: Path, start: int) -> Path:
    """Write `UPLOAD_BATCH_SIZE` rows from `start` on to a file."""
    part = path.with_name(f"{path.stem}.part.parquet")
    pq.write_table(pq.read_table(path).slice(start, UPLOAD_BATCH_SIZE), part)
    return part


async def send_purchases(api: ApiClient, events: list[Json], progress: Progress) -> None:
    """Send events of purchases in batches. Raises DemoError if one is refused."""
    for start in range(0, len(events), purchases.BATCH_SIZE):
        statuses = await api.events(events[start : start + purchases.BATCH_SIZE])
        if strange := {*statuses} - {"recorded", "duplicate"}:
            raise DemoError(f"events of purchases were not recorded: {', '.join(sorted(strange))}")
        progress(start + len(statuses), len(events))


async def wait_until_learned(api: ApiClient, history_rows: int, progress: Progress) -> list[Json]:
    """Wait until imported history is in reports and arms; return calibrated's arms. Raises DemoError if it is late."""
    archived, before, steady = 0, -1.0, 0
    clock = asyncio.get_running_loop().time
    deadline = clock() + DRAIN_TIMEOUT_S
    while clock() < deadline:
        rows = await api.acceptance()
        archived = sum(int(row["decided"]) for row in rows if is_history(row))
        arms = await api.arms("calibrated")
        seen = sum(arm["observations"] for arm in arms)
        progress(min(archived, history_rows), history_rows)
        # Steady: nothing was learned since the last look, but for rounding.
        steady = steady + 1 if 0 < seen <= before * 1.000001 else 0
        if archived >= history_rows and steady >= STEADY_POLLS:
            return arms
        before = seen
        await asyncio.sleep(POLL_S)
    raise DemoError(
        f"after {DRAIN_TIMEOUT_S:.0f} s only {archived} of {history_rows} rows of history have arrived"
    )

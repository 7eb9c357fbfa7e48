"""The rules of the demo: the vocabulary of the households' attributes, segments, rules, limits, and a script.

The rules are made up. They look at what is known of households at the cut-off, as anybody's rules would, and
leave each live offer an audience; a household of which nothing is known only gets what needs no knowledge.
"""

from collections.abc import Iterator, Mapping

from demo.client import Json
from demo.customers import slug
from demo.features import DEPARTMENTS
from demo.names import HOLDOUT, PURCHASE

AGES = ("19-24", "25-34", "35-44", "45-54", "55-64", "65+")
INCOMES = (
    "Under 15K", "15-24K", "25-34K", "35-49K", "50-74K", "75-99K",
    "100-124K", "125-149K", "150-174K", "175-199K", "200-249K", "250K+",
)  # fmt: skip
HOMES = ("Homeowner", "Renter", "Probable Renter", "Probable Homeowner")
COMPOSITIONS = ("1 Adult Kids", "1 Adult No Kids", "2 Adults Kids", "2 Adults No Kids")
CAPPED = "campaign-22"
ALERT = "party-vouchers-go"
DAILY_CAP = 500
HELD_OUT_SHARE = 0.1
# Minutes, since a household comes back every forty seconds. In a shop of real people they would be weeks.
AFTER_REJECTION_S = 120
ALERT_SHARE = 0.1

# Path, type, unit, allowed values, description.
VOCABULARY: tuple[tuple[str, str, str | None, tuple[str, ...], str], ...] = (
    ("customer.age", "string", "years", AGES, "age of the head of the household"),
    ("customer.income", "string", "dollars a year", INCOMES, "income of the household"),
    ("customer.home_ownership", "string", None, HOMES, "whether they own their home"),
    ("customer.marital_status", "string", None, ("Married", "Unmarried"), "marital status"),
    ("customer.household_size", "string", "people", ("1", "2", "3", "4", "5+"), "how many live there"),
    ("customer.household_comp", "string", None, COMPOSITIONS, "who lives there"),
    ("customer.kids_count", "string", "children", ("0", "1", "2", "3+"), "how many children live there"),
    ("customer.recency_days", "number", "days", (), "since the last purchase; absent before the first"),
    ("customer.frequency_per_week", "number", "baskets", (), "a week, over the last twelve weeks"),
    ("customer.spend_per_week", "number", "dollars", (), "a week, over the last twelve weeks"),
    ("context.page", "string", None, (), "the page of the web shop"),
    ("context.reason", "string", None, (), "why somebody came to the service desk"),
    ("context.items", "int", None, (), "how many items are in the cart"),
)

SEGMENTS: Mapping[str, tuple[str, str]] = {
    "shopper": ("has(customer.recency_days) && customer.recency_days <= 84.0", "has shopped in twelve weeks"),
    "regular": ("customer.frequency_per_week >= 1.0", "comes once a week or more"),
    "lapsing": ("customer.recency_days > 28.0", "has not come for four weeks"),
    "with_kids": ("customer.kids_count in ['1', '2', '3+']", "children are known to live there"),
}

# What agents may tell with a no: name, and what is not offered then, for so many seconds.
REASONS: Mapping[str, tuple[str, str, int]] = {
    "not-bought-here": ("Does not buy that here", "group", 300),
    "has-them": ("Has the coupons already", "offer", 600),
    "no-time": ("No time now", "channel", 60),
}

_CALM = "!has(context.reason) || context.reason != 'complaint'"
_SMALL = "!has(customer.household_size) || customer.household_size in ['1', '2', '3']"

# Id, title, text, tags, language: for the service desk, whatever is offered.
ARTICLES: tuple[tuple[str, str, str, tuple[str, ...], str], ...] = (
    (
        "coupon-not-counted",
        "A coupon did not count at the till",
        "Ask for the receipt, and look whether the product and the size are those of the coupon.\n"
        "If they are, give the money back at the desk. If they are not, say which product it is for.",
        ("refund", "receipt", "wrong", "complaint"),
        "en",
    ),
    (
        "coupon-on-card",
        "How coupons get onto the card",
        "They are loaded while we speak, and the till takes them off at the next visit.\n"
        "Nothing has to be clipped or shown. What is not used runs out with the campaign.",
        ("load", "redeem", "clip"),
        "en",
    ),
    (
        "no-more-mail",
        "Somebody wants no more mail from us",
        "Take the request as it is, and offer nothing now. It is entered for the whole household.\n"
        "What has been printed already may still arrive within two weeks.",
        ("unsubscribe", "privacy", "stop", "advertising"),
        "en",
    ),
    (
        "cupones-en-la-tarjeta",
        "Cómo llegan los cupones a la tarjeta",
        "Se cargan mientras hablamos, y la caja los descuenta en la próxima visita.\n"
        "No hay que recortar ni enseñar nada. Lo que no se usa caduca con la campaña.",
        ("cargar", "canjear", "recortar"),
        "es",
    ),
)

# Name, tier and condition of the rules of all offers, and of those that are live.
FOR_ALL = (("not in a complaint", "applicability", _CALM),)
RULES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "campaign-15": (("shops here", "eligibility", "segment.shopper"),),
    "campaign-20": (
        ("shops here", "eligibility", "segment.shopper"),
        ("buys at the drug counter", "suitability", "customer.interests.drug_gm > 0.03"),
    ),
    "campaign-21": (("cooks", "suitability", "customer.interests.grocery > 0.4 || segment.with_kids"),),
    "campaign-22": (("comes often, or should again", "suitability", "segment.regular || segment.lapsing"),),
    "campaign-23": (("not a large household", "suitability", _SMALL),),
}


def before_offers() -> Iterator[tuple[str, Json]]:
    """Yield path and body of what offers and feedback refer to: the vocabulary, the segments, reasons for a no."""
    for path, kind, unit, values, description in VOCABULARY:
        body = {"type": kind, "unit": unit, "values": list(values), "description": description}
        yield f"/v1/attributes/{path}", body
    for department in DEPARTMENTS:
        description = f"share of the spend of the last twelve weeks in {department.lower()}"
        yield (
            f"/v1/attributes/customer.interests.{slug(department)}",
            {"type": "number", "description": description},
        )
    for name, (when, description) in SEGMENTS.items():
        yield f"/v1/segments/{name}", {"when": when, "description": description}

    for reason, (name, scope, for_s) in REASONS.items():
        yield f"/v1/reasons/{reason}", {"name": name, "suppress": [{"for_s": for_s, "scope": scope}]}


def rules_of(offer_id: str) -> list[Json]:
    """List the rules of an offer, as they are sent."""
    found = (*RULES.get(offer_id, ()), *FOR_ALL)
    return [{"name": name, "tier": tier, "when": when} for name, tier, when in found]


def after_offers() -> Iterator[tuple[str, Json]]:
    """Yield path and body of what refers to others (limits and their alert, a weight, a hold-out), and of articles."""
    policy = {"name": "four of one type a minute", "max": 4, "window_s": 60, "scope": "group"}
    yield "/v1/contact-policies/types", policy
    capacity = {"name": "party vouchers", "max": DAILY_CAP, "per": "day", "offer": CAPPED}
    yield "/v1/capacities/party-vouchers", capacity
    alert = {"watches": "capacity_used", "capacity": "party-vouchers", "threshold": ALERT_SHARE}
    yield f"/v1/alert-rules/{ALERT}", alert
    weight = {"when": "context.page == 'weekly-ad'", "percent": 50, "group": "type-a"}
    yield "/v1/context-weights/weekly-ad", weight
    for article_id, title, text, tags, language in ARTICLES:
        body = {"title": title, "body": text, "tags": list(tags), "language": language, "channels": ["agent"]}
        yield f"/v1/articles/{article_id}", body
    spent = {"event": PURCHASE, "property": "amount"}
    holdout = {"name": "No coupons at all", "share": HELD_OUT_SHARE, "events": [spent]}
    yield f"/v1/holdouts/{HOLDOUT}", holdout


def proposal() -> tuple[str, str, Json]:
    """Return title, item and body of a change that waits for somebody's approval: more of the party vouchers."""
    return "Twice as many party vouchers a day", "capacity/party-vouchers", {"max": 2 * DAILY_CAP}


def script(theme: str) -> Json:
    """Write what the agent at the desk says, and the answers to objections."""
    return {
        "steps": [
            {"step_id": "missed", "when": "segment.lapsing", "text": "We have missed you. Welcome back."},
            {"step_id": "offer", "text": f"I have coupons for {theme}, if you like."},
            {"step_id": "how", "text": "I load them onto your card now, and they count on your next visit."},
            {
                "step_id": "kids",
                "when": "segment.with_kids",
                "text": "They are good for the larger packs as well.",
            },
        ],
        "objections": [
            {
                "objection": "I never use coupons",
                "answer": "Nothing to clip: the till takes them off by itself.",
            },
            {
                "objection": "What does it cost?",
                "answer": "Nothing. Coupons that are not used simply run out.",
            },
            {"objection": "I have no time now", "answer": "It is done while we speak."},
        ],
    }

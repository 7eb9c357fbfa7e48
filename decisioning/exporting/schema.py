"""Columns of exported files: names, types and meanings, as docs/export.md lists them."""

from typing import Any, Literal, get_args

import pyarrow as pa

ExportKind = Literal["decisions", "outcomes", "features", "customers", "arms"]
ExportFormat = Literal["parquet", "dsjson"]
KINDS: tuple[ExportKind, ...] = get_args(ExportKind)
SCHEMA_VERSION = 1
"""Raised when a column changes its meaning or goes; columns may be added without that."""

_TEXT, _NUMBER, _WHOLE, _FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
_TIME = pa.timestamp("ms", tz="UTC")

Column = tuple[str, Any, str]
"""Name, type and meaning."""

_DECIDED: tuple[Column, ...] = (
    ("decision_id", _TEXT, "the decision"),
    ("decided_at", _TIME, "when it was made; its day (UTC) is the partition"),
)
COLUMNS: dict[ExportKind, tuple[Column, ...]] = {
    "decisions": (
        *_DECIDED,
        ("customer_id", _TEXT, "whom it was made for"),
        ("placement", _TEXT, "where it was asked for"),
        ("channel", _TEXT, "the placement's channel; null for imported history"),
        ("policy", _TEXT, "the policy that decided, as name@version"),
        ("scored_by", _TEXT, "the policy that scored, where the caller's own choice was answered; else null"),
        ("group", _TEXT, "champion, canary, caller, imported, or a control group"),
        ("source", _TEXT, "live, or history: imported"),
        ("catalog_version", _WHOLE, "the version of the catalogue"),
        ("epoch", _WHOLE, "of the policy's arms"),
        ("slots", pa.int32(), "slots that were asked for"),
        ("rank", pa.int32(), "the slot of this offer, from 1"),
        ("offer_id", _TEXT, "the offer"),
        ("offer_no", _WHOLE, "its number, as arms use it"),
        ("treatment_id", _TEXT, "the treatment that was shown; null if none was rendered"),
        (
            "probability",
            _NUMBER,
            "with which the offer was selected for this slot, given the earlier slots; "
            "null if no policy selected it",
        ),
        ("score", _NUMBER, "P x C x V x L"),
        ("factor_p", _NUMBER, "propensity in the score; 1 where it is switched off"),
        ("factor_c", _NUMBER, "context weight in the score"),
        ("factor_v", _NUMBER, "value in the score"),
        ("factor_l", _NUMBER, "business lever in the score"),
        ("expected", _NUMBER, "the propensity that the policy expected of the offer"),
        ("base_propensity", _NUMBER, "its precomputed propensity; null if there was none"),
        (
            "candidates",
            pa.list_(_TEXT),
            "offers that were left for this slot: without those of earlier slots",
        ),
        ("candidate_propensities", pa.list_(_NUMBER), "their precomputed propensities"),
        (
            "candidate_weights",
            pa.list_(_NUMBER),
            "their C x V x L, which propensities are multiplied by; "
            "null if the catalogue of that version does not tell",
        ),
        (
            "candidate_values",
            pa.list_(_NUMBER),
            "their values V, whether or not they count in the score; null as before",
        ),
        ("facts", _TEXT, "what policies may look at, by path: a JSON object"),
        ("context", _TEXT, "the context of the request: a JSON object"),
        ("segments", pa.list_(_TEXT), "segments of the customer"),
        ("degraded", pa.list_(_TEXT), "reasons for which the answer was degraded"),
        ("presented", _FLAG, "whether it was shown, as far as is known"),
        ("clicked", _FLAG, "whether it was clicked"),
        (
            "outcome",
            _TEXT,
            "accepted or rejected in time, ignored (nothing came in time), unobserved (nobody confirmed "
            "that it was presented), withdrawn (never delivered); null while the window is open",
        ),
        ("outcome_at", _TIME, "when it was accepted or rejected"),
        ("late", _FLAG, "whether an answer came too late to count"),
        ("reward", _NUMBER, "1 accepted, 0 rejected or ignored; null if there is no observation (yet)"),
        (
            "value",
            _NUMBER,
            "reward times what was told with it, else times what it was worth; null if not known",
        ),
        ("reward_at", _TIME, "when the log knew of the reward"),
        ("closed", _FLAG, "whether the reward window is closed: only then are rewards a fair sample"),
        ("holdouts", pa.list_(_TEXT), "hold-outs that the customer was in"),
    ),
    "outcomes": (
        *_DECIDED,
        ("offer_id", _TEXT, "the offer"),
        (
            "outcome",
            _TEXT,
            "shown, presented, clicked, accepted, rejected, expired, closed, released or withdrawn",
        ),
        ("value", _NUMBER, "what was told with it"),
        ("occurred_at", _TIME, "when it happened"),
        ("recorded_at", _TIME, "when the log knew of it"),
        ("late", _FLAG, "whether it came after the reward window"),
        ("reward", _NUMBER, "what is learned from it; null if nothing"),
        ("policy", _TEXT, "the policy that decided"),
        ("placement", _TEXT, "where it was decided"),
        ("expected", _NUMBER, "the propensity that was expected of the offer"),
        ("worth", _NUMBER, "the value that was expected of an acceptance"),
        ("base_propensity", _NUMBER, "its precomputed propensity"),
        ("facts", _TEXT, "what policies learn from, by path: a JSON object"),
    ),
    "features": (
        *_DECIDED,
        ("customer_id", _TEXT, "whom it was made for"),
        ("placement", _TEXT, "where it was asked for"),
        ("path", _TEXT, "the path of a fact that was logged, such as customer.age"),
        ("number", _NUMBER, "its value, if that is a number; 1 and 0 for true and false"),
        ("text", _TEXT, "its value as text"),
    ),
    "customers": (
        ("customer_id", _TEXT, "the customer"),
        ("updated_at", _TIME, "the last change; its day (UTC) is the partition"),
        ("attributes", _TEXT, "a JSON object"),
        ("indicators", _TEXT, "a JSON object of numbers"),
        ("holdings", pa.list_(_TEXT), "offers and products that the customer has"),
        ("interests", _TEXT, "a JSON object of numbers"),
        ("consents", _TEXT, "a JSON object: channels by purpose"),
        ("propensities", _TEXT, "precomputed propensities: a JSON object by offer"),
        ("household_id", _TEXT, "the household that the customer belongs to, if any"),
    ),
    "arms": (
        ("policy", _TEXT, "name@version"),
        ("epoch", _WHOLE, "how often its arms had changed"),
        ("exported_at", _TIME, "when they were read; its day (UTC) is the partition"),
        ("arm", _TEXT, "the field of the arm"),
        ("offer_id", _TEXT, "its offer; null for what offers share, and for offers that are gone"),
        ("state", pa.list_(_NUMBER), "its sums, as the algorithm keeps them"),
    ),
}


def schema_of(kind: ExportKind) -> pa.Schema:
    """Return the Arrow schema of a kind, with meanings as ``description`` of each field."""
    return pa.schema(
        [pa.field(name, of, metadata={"description": meaning}) for name, of, meaning in COLUMNS[kind]],
        metadata={"nextbest.kind": kind, "nextbest.schema": str(SCHEMA_VERSION)},
    )

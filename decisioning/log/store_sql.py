"""Records of the log as rows in Postgres, and the statements that archive a batch of them.

Inserts are idempotent, with the roll-up taken from what was really new.
"""

import math
from functools import lru_cache
from operator import attrgetter
from typing import Any

from sqlalchemy import Row

from bandits.policy import NO_FACTS
from decisioning.log.codec import candidate_bytes, encode_decision, facts_text, parse_causes, parse_decided
from decisioning.model.deciders import CALLER, HISTORY
from decisioning.model.decision import LoggedDecision
from decisioning.model.logged_event import LoggedEvent, properties_text
from decisioning.model.outcome import Outcome, parse_earned
from decisioning.model.position import StreamPosition
from profiles.events.event import Event
from storage.clock import to_datetime, to_ms

DECISION_COLUMNS = (
    "decision_id",
    "decided_at",
    "customer_id",
    "placement",
    "policy",
    "bucket",
    "position",
    "header",
    "candidates",
    "priors",
    "factors",
    "grp",
    "holdouts",
    "catalog_version",
    "offered",
)
_OFFERED = ("decision_id", "offer_id", "outcome", "policy", "placement", "bucket")
_TOLD = ("value", "at_ms", "recorded_ms", "late", "reward", "silence_ms")
_SAME = (*_OFFERED, *_TOLD)
"""Columns of outcomes that are named like the fields of ``Outcome``, and hold their values as they are."""
_same_of = attrgetter(*_SAME)
_time_of = lru_cache(maxsize=4096)(to_datetime)  # a decision and its outcomes have the same
OUTCOME_COLUMNS = (
    *_SAME,
    "decided_at",
    "offer_no",
    "prior",
    "position",
    "estimate",
    "worth",
    "facts",
    "earned",
    "reason",
    "causes",
)
EVENT_COLUMNS = (
    "event_id",
    "customer_id",
    "type",
    "occurred_at",
    "recorded_ms",
    "properties",
    "contacts",
    "bucket",
    "position",
    "household_id",
)

STAGING = (
    "CREATE TEMP TABLE stage_decisions (LIKE decisions) ON COMMIT DELETE ROWS",
    "CREATE TEMP TABLE stage_outcomes (LIKE outcomes) ON COMMIT DELETE ROWS",
    "CREATE TEMP TABLE stage_events (LIKE events) ON COMMIT DELETE ROWS",
)

GROUP_OF = (
    "coalesce(d.grp, d.header ->> 'group', CASE WHEN d.header ->> 'source' = 'history' THEN 'imported'"
    " WHEN (d.header ->> 'control')::boolean THEN 'control' ELSE 'champion' END)"
)
"""The group of a decision ``d``; its column is empty where it was archived before there was one."""
DECIDER_OF = (
    f"CASE WHEN d.policy = '{CALLER}' THEN d.policy"
    " ELSE coalesce(d.header -> 'failed' ->> 'policy', d.policy) END"
)
"""The policy that was to make a decision ``d``, also if it failed; where the caller chose, a policy only scored."""
IN_LOG_ORDER = (
    "recorded_ms, split_part(position, '-', 1)::bigint, split_part(position, '-', 2)::bigint, outcome"
)
"""The order of a decision's outcomes: as they were recorded, several of one millisecond as the log has them."""
IS_CLOSED = (
    f"(d.policy = '{HISTORY}' OR EXISTS (SELECT FROM outcomes AS x WHERE x.decision_id = d.decision_id"
    " AND x.decided_at = d.decided_at AND x.outcome IN ('expired', 'closed', 'withdrawn'))"
    " OR jsonb_array_length(d.header -> 'numbers') = 0)"
)
"""True if nothing more can come of a decision ``d``: its reward window is closed, as far as the archived log knows.

Acceptances are told at once, silence when the window closes, in one record with all that was answered before. So what
is known of closed decisions is a fair sample, and what is known of open ones is not."""
RESULT_KNOWN = "(reward IS NOT NULL AND NOT late OR outcome = 'closed' AND reward IS NULL)"
"""True for an outcome that tells what came of an offer in time: a ``closed`` one if the answer was too late."""
ROLLED_UP = "hour, placement, policy, offer_id, grp"

_GROUPED = "GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"  # in one order, so that archivers do not lock each other out


def _in_time(outcome: str) -> str:
    return f"count(*) FILTER (WHERE o.outcome = '{outcome}' AND NOT o.late)"


_ANSWERED_IN_HISTORY = f"o.outcome IN ('accepted', 'rejected') AND NOT o.late AND o.policy = '{HISTORY}'"
"""True for an imported answer: its window was closed already, and no other outcome says so."""


def _in_closed_window(outcome: str, reward: int) -> str:
    """Count answers from when their window is closed."""
    return (
        f"count(*) FILTER (WHERE o.outcome = 'closed' AND o.reward = {reward}"
        f" OR o.outcome = '{outcome}' AND {_ANSWERED_IN_HISTORY})"
    )


# What one outcome `o` adds to the roll-up, by column. An answer that came too late is silence when the window closes.
OUTCOME_COUNTS = {
    "decided": "-count(*) FILTER (WHERE o.outcome = 'withdrawn')",
    **{outcome: _in_time(outcome) for outcome in ("presented", "clicked", "accepted", "rejected")},
    "ignored": "count(*) FILTER (WHERE o.outcome = 'expired' AND o.reward IS NOT NULL"
    " OR o.outcome = 'closed' AND o.reward IS NULL)",
    "unobserved": "count(*) FILTER (WHERE o.outcome = 'expired' AND o.reward IS NULL)",
    "late": "count(*) FILTER (WHERE o.late AND o.outcome <> 'closed')",
    "accepted_closed": _in_closed_window("accepted", 1),
    "rejected_closed": _in_closed_window("rejected", 0),
    "value": "coalesce(sum(o.value) FILTER (WHERE o.outcome = 'accepted' AND NOT o.late), 0)",
}


def _count_decisions(rows: str) -> str:
    """The statement that adds decisions to the roll-up. ``rows``: where they are."""
    return f"""
INSERT INTO acceptance AS a ({ROLLED_UP}, decided)
SELECT date_trunc('hour', d.decided_at), d.placement, d.policy, offer ->> 'offer_id', {GROUP_OF}, count(*)
FROM {rows} AS d, jsonb_array_elements(d.header -> 'offers') AS offer
{_GROUPED}
ON CONFLICT ({ROLLED_UP}) DO UPDATE SET decided = a.decided + excluded.decided
"""


_CLOSER = f"(o.outcome IN ('closed', 'expired') OR {_ANSWERED_IN_HISTORY})"
"""True for the outcome `o` that closes the window of an offer: there is one for each offer of a decision."""


def square_of(number: str) -> str:
    """Write the square of a float. Postgres refuses what is too small for its type, so that is 0."""
    return f"CASE WHEN abs({number}) < 1e-150 THEN 0 ELSE {number} * {number} END"


# What the outcome that closes a window adds: what had been told of the offer by then, which nothing in time can follow.
CLOSED_COUNTS = {
    "presented_closed": f"count(*) FILTER (WHERE {_CLOSER} AND t.presented)",
    "clicked_closed": f"count(*) FILTER (WHERE {_CLOSER} AND t.clicked)",
    "value_closed": f"coalesce(sum(t.value) FILTER (WHERE {_CLOSER}), 0)",
    # Of each offer of a decision, what it brought in all, squared.
    "value_squares_closed": f"coalesce(sum({square_of('t.value')}) FILTER (WHERE {_CLOSER}), 0)",
    # Processes of versions without squares close windows as well: fewer than are closed, and the sum is not known.
    "squared_closed": f"count(*) FILTER (WHERE {_CLOSER})",
}
_TOLD_UNTIL_CLOSED = f"""
    SELECT x.decision_id, x.decided_at, x.offer_id, x.outcome, x.value, x.late
    FROM fresh AS o JOIN outcomes AS x USING (decision_id, decided_at, offer_id) WHERE {_CLOSER}
    UNION ALL SELECT decision_id, decided_at, offer_id, outcome, value, late FROM fresh
"""  # `outcomes` as it was before: what a statement inserts it does not see itself


def _count_outcomes(rows: str, told: str) -> str:
    """The statement that adds outcomes to the roll-up.

    ``rows``: where they are. ``told``: where all outcomes of the offers are whose windows close by them.
    """
    counts = OUTCOME_COUNTS | CLOSED_COUNTS
    return f"""
INSERT INTO acceptance AS a ({ROLLED_UP}, {", ".join(counts)})
SELECT date_trunc('hour', o.decided_at), o.placement, o.policy, o.offer_id, {GROUP_OF},
    {", ".join(counts.values())}
FROM {rows} AS o LEFT JOIN decisions AS d USING (decision_id, decided_at)
LEFT JOIN (
    SELECT x.decision_id, x.decided_at, x.offer_id, bool_or(x.outcome = 'presented') AS presented,
        bool_or(x.outcome = 'clicked') AS clicked, sum(x.value) FILTER (WHERE x.outcome = 'accepted') AS value
    FROM {told} AS x WHERE NOT x.late AND x.outcome IN ('presented', 'clicked', 'accepted') GROUP BY 1, 2, 3
) AS t USING (decision_id, decided_at, offer_id)
{_GROUPED}
ON CONFLICT ({ROLLED_UP}) DO UPDATE SET
    {", ".join(f"{column} = a.{column} + excluded.{column}" for column in counts)}
"""


NOTE_OWN_IDS = """
INSERT INTO own_ids (decision_id, decided_at)
SELECT decision_id, decided_at FROM stage_decisions
WHERE decision_id !~ '^(nb[0-9a-f]{3}|past)-[0-9a-f]{32}$'
ON CONFLICT DO NOTHING
"""
"""Ids that callers chose, with their times: others name their time, or are made anew from a row of imported history."""

INSERT_DECISIONS = f"""
WITH fresh AS (
    INSERT INTO decisions ({", ".join(DECISION_COLUMNS)})
    SELECT {", ".join(DECISION_COLUMNS)} FROM stage_decisions
    ON CONFLICT DO NOTHING
    RETURNING decided_at, placement, policy, grp, header
)
{_count_decisions("fresh")}"""

INSERT_OUTCOMES = f"""
WITH fresh AS (
    INSERT INTO outcomes ({", ".join(OUTCOME_COLUMNS)})
    SELECT {", ".join(OUTCOME_COLUMNS)} FROM stage_outcomes
    ON CONFLICT DO NOTHING
    RETURNING decision_id, decided_at, placement, policy, offer_id, outcome, value, late, reward
), told AS ({_TOLD_UNTIL_CLOSED})
{_count_outcomes("fresh", "told")}"""

_UNMARK_DAYS = """
DELETE FROM rolled_up_days
WHERE day IN (SELECT DISTINCT cast(decided_at AT TIME ZONE 'UTC' AS date) FROM {rows})
"""
UNMARK_DAYS_OF_DECISIONS = _UNMARK_DAYS.format(rows="stage_decisions")
UNMARK_DAYS_OF_OUTCOMES = _UNMARK_DAYS.format(
    rows="stage_outcomes WHERE outcome IN ('closed', 'expired', 'withdrawn') OR outcome = 'accepted' AND NOT late"
)
"""What is rolled up by day, see ``reporting.store_asked_days``, is not true any more of the days of a batch."""

INSERT_EVENTS = f"""
INSERT INTO events ({", ".join(EVENT_COLUMNS)})
SELECT {", ".join(EVENT_COLUMNS)} FROM stage_events
ON CONFLICT DO NOTHING
"""

_WHOLE_FROM = """(
    SELECT coalesce(date_trunc('hour', max(before)) + interval '1 hour', '-infinity') FROM retention_actions
    WHERE what IN ('log', 'decisions without a month', 'outcomes without a month')
)"""
"""The first hour of which the whole log is kept."""
_KEPT_OUTCOMES = f"(SELECT * FROM outcomes WHERE decided_at >= {_WHOLE_FROM})"

REBUILD_ACCEPTANCE = (
    # What archivers add meanwhile would be counted twice.
    "LOCK TABLE acceptance IN ACCESS EXCLUSIVE MODE",
    # What the log does not tell any more stays as it was counted.
    f"DELETE FROM acceptance WHERE hour >= {_WHOLE_FROM}",
    _count_decisions(f"(SELECT * FROM decisions WHERE decided_at >= {_WHOLE_FROM})"),
    _count_outcomes(_KEPT_OUTCOMES, _KEPT_OUTCOMES),
)


def decision_row(d: LoggedDecision) -> tuple[Any, ...]:
    """Return a decision as ``DECISION_COLUMNS``."""
    decision = d.decision
    candidates, base_propensities, factors = candidate_bytes(d)
    return (
        decision.decision_id,
        _time_of(decision.decided_at_ms),
        decision.customer_id,
        decision.placement,
        decision.policy.key,
        d.bucket,
        d.position,
        # As it was logged: a field that only a later version knows must not be lost in the archive.
        (d.encoded or encode_decision(decision)).decode(),
        candidates,
        base_propensities,
        factors or None,
        decision.group,
        None if decision.holdouts is None else list(decision.holdouts),
        decision.catalog_version,
        len(decision.numbers),
    )


def outcome_row(o: Outcome) -> tuple[Any, ...]:
    """Return an outcome as ``OUTCOME_COLUMNS``."""
    return (
        *_same_of(o),
        _time_of(o.decided_at_ms),
        o.offer,
        o.base_propensity,
        o.position,
        # Null, since NaN would be greater than every number in SQL.
        None if math.isnan(o.estimate) else o.estimate,
        None if math.isnan(o.worth) else o.worth,
        facts_text(o.facts) or None,
        None if o.earned is None else o.earned.text,
        o.reason,
        ",".join(o.causes) if o.causes else None,
    )


def event_row(e: LoggedEvent) -> tuple[Any, ...]:
    """Return an event as ``EVENT_COLUMNS``."""
    event = e.event
    return (
        event.event_id,
        event.customer_id,
        event.type,
        to_datetime(event.at_ms),
        e.recorded_ms,
        properties_text(event.properties),
        list(e.contacts),
        e.bucket,
        e.position,
        e.household,
    )


def event_of_row(row: Row[Any]) -> LoggedEvent:
    """Return an event from its archived columns."""
    event = Event(row.event_id, row.customer_id, row.type, to_ms(row.occurred_at), row.properties)
    position, contacts = StreamPosition(row.position), tuple(row.contacts)
    return LoggedEvent(row.bucket, position, event, row.recorded_ms, contacts, row.household_id)


def decision_of_row(row: Row[Any]) -> LoggedDecision:
    """Return a decision from its archived columns. Raises ``LogCodecError``."""
    position = StreamPosition(row.position)
    return parse_decided(
        row.bucket, position, row.header.encode(), row.candidates, row.priors, row.factors or b""
    )


def outcome_of_row(row: Row[Any]) -> Outcome:
    """Return an outcome from all of its archived columns."""
    return Outcome(
        **dict(zip(_SAME, _same_of(row), strict=True)),
        position=StreamPosition(row.position),
        decided_at_ms=to_ms(row.decided_at),
        offer=row.offer_no,
        base_propensity=row.prior,
        estimate=math.nan if row.estimate is None else row.estimate,
        worth=math.nan if row.worth is None else row.worth,
        facts=row.facts or NO_FACTS,
        earned=parse_earned(row.earned or ""),
        reason=row.reason,
        causes=parse_causes(row.causes or ""),
    )

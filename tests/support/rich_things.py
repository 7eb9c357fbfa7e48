"""A thing of every kind of the catalogue, in which every field has another value than its default."""

from typing import Any

SCRIPT = {
    "steps": [{"step_id": "why", "text": "Ask.", "when": "context.placement == 'desk'"}],
    "objections": [{"objection": "Too dear", "answer": "Not in May."}],
}
SUPPRESS = [{"for_s": 86400, "scope": "channel"}]
DEMANDS: dict[str, Any] = {
    "requires_consent": "marketing",
    "legal_basis": "legitimate_interest",
    "contact_limits": [{"max": 3, "window_s": 60}, {"max": 9, "window_s": 600}],
    "rules": [
        {"name": "known", "tier": "eligibility", "when": "customer.known"},
        {"name": "not yet", "tier": "applicability", "when": "!('rich' in customer.holdings)"},
    ],
}
RICH_THINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "attribute": (
        "attributes/offer.months",
        {"type": "int", "description": "how long", "unit": "months", "values": [12, 24]},
    ),
    "segment": ("segments/known", {"when": "customer.known", "description": "on file"}),
    "group": ("groups/rich", DEMANDS | {"name": "Rich", "goal": "serve", "lever": 12.5}),
    "offer": (
        "offers/rich",
        DEMANDS
        | {
            "name": "Rich",
            "group": "rich",
            "value": 12.0,
            "value_expression": "customer.known ? 45.0 : 30.0",
            "status": "paused",
            "starts_at": "2026-03-01T00:00:00.250000Z",
            "ends_at": "2027-03-01T00:00:00Z",
            "lever": 25.0,
            "mandatory": True,
            "transactional": True,
            "team": "callback",
            "attributes": {"months": 12, "line": "mobile", "rate": 1.0, "new": True},
            "min_propensity": 0.25,
            "not_with": ["gold"],
            "not_after": [
                {"within_s": 60, "offer": "gold", "group": None, "outcomes": ["accepted", "rejected"]}
            ],
            "after_rejection": [{"for_s": 60, "scope": "attribute", "attribute": "line"}],
        },
    ),
    "treatment": (
        "offers/rich/treatments/call",
        {
            "channel": "agent",
            "language": "de-CH",
            "title": "Dear {{ customer.customer_id }}",
            "message": "Hello.",
            "image": "https://example.com/a.png",
            "fallbacks": {"customer.customer_id": "customer"},
            "script": SCRIPT,
            "link": "/rich?from=desk",
            "button": "Take it",
            "legal": "Not for minors.",
            "attributes": {"colour": "gold", "places": 3, "rate": 1.5, "new": True},
        },
    ),
    "placement": (
        "placements/rich",
        {
            "channel": "agent",
            "slots": 3,
            "fill_with_defaults": True,
            "default_offers": ["gold"],
            "deadline_ms": 50,
            "presentation": "explicit",
            "reward_window_s": 60,
            "policy": "random",
            "fallback_policy": "random",
            "control_policy": "propensity",
            "control_share": 0.25,
            "experiment_salt": "s",
            "without_history": "allow",
            "confirm_within_s": 30,
            "off": ["V", "L"],
            "when": "customer.known",
            "min_propensity": 0.125,
            "max_per_group": 2,
            "tie_break": "value",
        },
    ),
    "contact_policy": (
        "contact-policies/rich",
        {
            "name": "two",
            "max": 2,
            "window_s": 60,
            "outcomes": ["clicked", "presented"],
            "scope": "group",
            "channels": ["agent", "web"],
            "suppress_s": 90,
            "applies_to": "rich",
        },
    ),
    "quiet_hours": (
        "quiet-hours/rich",
        {"start": "21:00", "end": "08:00", "channels": ["agent"], "time_zone": "Europe/Madrid"},
    ),
    "capacity": (
        "capacities/rich",
        {
            "name": "calls",
            "max": 300,
            "per": "hour",
            "time_zone": "Europe/Madrid",
            "offer": "rich",
            "group": "rich",
            "channel": "agent",
            "team": "callback",
            "counts": "presented",
            "hold_s": 600,
            "overbook": 3,
            "once_per_customer": False,
        },
    ),
    "override": (
        "overrides/rich",
        {
            "reason": "in May",
            "offer": "rich",
            "group": "rich",
            "starts_at": "2026-05-01T00:00:00Z",
            "ends_at": "2026-06-01T00:00:00Z",
        },
    ),
    "context_weight": (
        "context-weights/rich",
        {"when": "customer.known", "percent": -50.0, "goal": "retain", "group": "rich", "offer": "rich"},
    ),
    "goal": ("goals/serve", DEMANDS | {"lever": -12.5}),
    "outcome": (
        "outcomes/rich",
        {"name": "Quoted", "reward": 0.3, "place": 50, "terminal": True, "suppress": SUPPRESS},
    ),
    "reason": ("reasons/rich", {"name": "Too expensive", "suppress": SUPPRESS}),
    "signal": (
        "signals/rich",
        {
            "when": "customer.known",
            "reason": "rich",
            "scope": {
                "goals": ["acquire"],
                "groups": ["cards"],
                "offers": ["rich"],
                "channels": ["agent", "web"],
                "except_goals": ["serve"],
                "except_groups": ["rich"],
            },
            "lasts_s": 86400,
            "unread": "allow",
            "name": "Leave in peace",
            "description": "No sales",
        },
    ),
    "alert": (
        "alert-rules/rich",
        {
            "watches": "acceptance_drop",
            "placement": "rich",
            "offer": "rich",
            "capacity": None,
            "threshold": 0.3,
            "window_s": 86400,
            "webhook": "https://example.com/hooks",
            "secret": "on-call",
            "description": "Tell us",
        },
    ),
    "event": (
        "event-types/rich",
        {
            "name": "Call",
            "json_schema": {
                "type": "object",
                "properties": {
                    "reason": {"enum": ["bill", "fault"]},
                    "minutes": {"type": "number", "maximum": 1.5},
                    "caller": {"type": "string"},
                },
                "required": ["reason"],
            },
            "contact": {"channel": "agent", "group": None, "offer": "rich"},
            "personal": ["caller"],
            "retention_days": 400,
            "description": "A call",
        },
    ),
    "aggregate": (
        "aggregates/rich",
        {
            "event": "rich",
            "function": "deviation",
            "property": "minutes",
            "where": "event.reason == 'bill'",
            "window": "7d",
            "of": "mean",
            "periods": 5,
            "min_periods": 4,
            "name": "Talks",
            "description": "Longer talks on bills than usual",
        },
    ),
    "concept": (
        "concepts/rich",
        {
            "signals": [{"event": "rich", "weight": 2.5, "where": "event.reason == 'bill'"}],
            "half_life": "7d",
            "name": "Money",
            "description": "Interested in what it costs",
        },
    ),
    "trigger": (
        "triggers/rich",
        {
            "on": {"event": "rich", "unless": ["rich"], "after_s": 1800, "restart": False},
            "deliver": {"webhook": "https://example.com/hooks", "secret": "triggers"},
            "channels": [{"placement": "rich", "cost": 4.5}],
            "when": "customer.known",
            "within_s": 60,
            "again_after_s": 0,
            "status": "paused",
            "name": "Left",
            "description": "Left behind",
        },
    ),
    "holdout": (
        "holdouts/rich",
        {
            "name": "Control",
            "share": 0.25,
            "goal": "retain",
            "exempt_goals": ["serve"],
            "exempt_groups": ["rich"],
            "events": [{"event": "rich", "property": "minutes"}],
            "description": "For the year",
            "starts_at": "2026-05-01T00:00:00Z",
            "ends_at": "2026-06-01T00:00:00Z",
        },
    ),
}
"""Path and body by kind, in an order in which they can be made."""

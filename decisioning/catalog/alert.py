"""Alerts: what is watched, from when on somebody is told, and how."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from decisioning.catalog.kind import Sections
from decisioning.errors import Invalid, MissingThing

Watched = Literal[
    "acceptance_drop",
    "drift",
    "exploration_died",
    "capacity_used",
    "archive_backlog",
    "degraded_share",
    "trigger_failures",
]
Scope = Literal["placement", "offer", "capacity", "trigger"]
_SECTIONS: Mapping[Scope, str] = {
    "placement": "placements",
    "offer": "offers",
    "capacity": "capacities",
    "trigger": "triggers",
}
_BOUNDS: Mapping[Watched, str] = {
    "archive_backlog": "must be seconds, 0 or more",
    "trigger_failures": "must be a number of firings, 0 or more",
}
"""The bounds of thresholds that are no shares."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The defaults of what can be watched. ``window_s``: the time looked at; 0 for what is looked at as it is now."""

    threshold: float
    window_s: int
    scopes: tuple[Scope, ...]


WATCHES: Mapping[Watched, Watch] = {
    "acceptance_drop": Watch(0.2, 7 * 86_400, ("placement", "offer")),
    "drift": Watch(0.0, 86_400, ("placement", "offer")),
    "exploration_died": Watch(0.95, 86_400, ("placement",)),
    "capacity_used": Watch(0.9, 0, ("capacity",)),
    "archive_backlog": Watch(60.0, 0, ()),
    "degraded_share": Watch(0.05, 900, ("placement",)),
    "trigger_failures": Watch(1.0, 3600, ("trigger",)),
}


@dataclass(frozen=True, slots=True)
class Alert:
    """Tells when what it ``watches`` is beyond a ``threshold``, by a signed request to ``webhook`` if there is one.

    ``threshold``, ``window_s``: as in ``WATCHES`` if ``None``. ``secret``: the name under which workers find what
    requests are signed with, never the secret itself.
    """

    alert_id: str
    watches: Watched
    placement: str | None = None
    offer: str | None = None
    capacity: str | None = None
    trigger: str | None = None
    threshold: float | None = None
    window_s: int | None = None
    webhook: str | None = None
    secret: str | None = None
    description: str = ""

    @property
    def limit(self) -> float:
        """The threshold in force."""
        return WATCHES[self.watches].threshold if self.threshold is None else self.threshold

    @property
    def span_s(self) -> int:
        """The time that is looked at, in seconds."""
        return WATCHES[self.watches].window_s if self.window_s is None else self.window_s


def webhook_problem(url: str) -> str | None:
    """Say what is wrong with the address of a webhook; ``None`` if nothing is."""
    try:
        parts = urlsplit(url)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        return "is not an address such as https://example.com/hooks"
    if parts.scheme not in ("https", "http") or not parts.hostname or not port_is_right:
        return "must be an address such as https://example.com/hooks"
    if parts.username is not None or parts.password is not None:
        return "must not contain a user or a password: everybody who reads the catalogue would see them"
    if parts.fragment or any(c.isspace() or not c.isprintable() for c in url):
        return "must not contain a fragment, white space or control characters"
    return None


def check_alert(alert: Alert, things: Sections) -> Iterator[Invalid]:
    """Yield what is not right about an alert. ``things``: the sections of the catalogue."""
    for scope, section in _SECTIONS.items():
        named = getattr(alert, scope)
        if named is None:
            continue
        if scope not in WATCHES[alert.watches].scopes:
            yield Invalid(scope, f"means nothing to {alert.watches}: leave it out")
        elif named and named not in things[section]:
            yield MissingThing(scope, scope, named)
    bounds, is_share = _BOUNDS.get(alert.watches, "must be a share from 0 to 1"), alert.watches not in _BOUNDS
    if alert.threshold is not None and (alert.threshold < 0 or (is_share and alert.threshold > 1)):
        yield Invalid("threshold", bounds)
    if alert.window_s is not None and not WATCHES[alert.watches].window_s:
        yield Invalid("window_s", f"means nothing to {alert.watches}, which is looked at as it is now")
    if alert.secret is not None and alert.secret.startswith("whsec_"):
        yield Invalid(
            "secret", "is a secret itself: put it into a file of NEXTBEST_WEBHOOK_SECRETS, and name that"
        )
    if alert.webhook is None:
        return
    problem = webhook_problem(alert.webhook)
    if problem:
        yield Invalid("webhook", problem)
    if alert.secret is None:
        yield Invalid(
            "secret", "is missing: name the file of NEXTBEST_WEBHOOK_SECRETS that requests are signed with"
        )

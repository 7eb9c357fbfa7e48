"""The metrics themselves. Import this only after ``telemetry.prepare_metrics``."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("nextbest_requests", "HTTP requests", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "nextbest_request_seconds",
    "Time to answer an HTTP request",
    ["route"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
DECISIONS = Counter(
    "nextbest_decisions",
    "Decisions, by placement, policy and group",
    ["placement", "policy", "version", "group"],
)
POLICY_FAILURES = Counter(
    "nextbest_policy_failures",
    "Decisions that a policy should have made and could not, by reason",
    ["placement", "policy", "reason"],
)
DEGRADED = Counter("nextbest_degraded", "Decisions that were degraded, by reason", ["reason"])
MISSING = Counter(
    "nextbest_missing_attributes",
    "Conditions that were not met for want of an attribute, by attribute",
    ["attribute"],
)
FEEDBACK = Counter("nextbest_feedback", "Feedback, by outcome and what became of it", ["outcome", "status"])
EVENTS = Counter("nextbest_events", "Events, by type and what became of them", ["type", "status"])
FIRINGS = Counter(
    "nextbest_firings", "Firings of triggers, by trigger and what became of them", ["trigger", "status"]
)
DELIVERY_SECONDS = Histogram(
    "nextbest_delivery_seconds",
    "Time from when a trigger fired until its decision was delivered",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600, 3600),
)

FOLDED = Counter("nextbest_folded", "Observations folded into arms", ["policy"])
ARCHIVED = Counter("nextbest_archived", "Log records archived", ["type"])
DEAD_LETTERS = Counter(
    "nextbest_dead_letters",
    "Log records that could not be archived and were set aside: nextbest dead-letters",
)
EXPIRED = Counter("nextbest_expired", "Decisions whose reward window was closed")
RELEASED = Counter("nextbest_released", "Decisions whose reservations were given back: never presented")
JOB_FAILURES = Counter("nextbest_job_failures", "Rounds of background jobs that failed", ["job"])
SET_ASIDE = Counter(
    "nextbest_set_aside",
    "Policies that streams wait for no longer, since their learner stood still",
    ["policy"],
)
LEARNER_STILL = Gauge(
    "nextbest_learner_still_seconds",
    "Time for which a policy's learner has folded nothing, though there was something",
    ["policy"],
    multiprocess_mode="mostrecent",
)
SWEPT = Counter("nextbest_swept", "Decisions whose window was closed from the archive, long after its end")
ARCHIVE_LAG = Gauge(
    "nextbest_archive_lag_seconds", "Age of the newest archived record", multiprocess_mode="mostrecent"
)
SHADOW_CHOICES = Counter("nextbest_shadow_choices", "Decisions that a shadow was asked about", ["policy"])
SHADOW_FAILURES = Counter(
    "nextbest_shadow_failures",
    "Decisions that a shadow could not be asked about, or failed in",
    ["policy", "reason"],
)
SHADOW_SKIPPED = Counter("nextbest_shadow_skipped", "Decisions passed over since shadows were too far behind")
SHADOW_LAG = Gauge(
    "nextbest_shadow_lag_seconds",
    "Age of the newest decision that shadows have seen",
    multiprocess_mode="mostrecent",
)

ROLLBACKS = Counter(
    "nextbest_rollbacks", "Canaries that guardrails rolled back, by cause", ["placement", "policy", "cause"]
)
CANARY_EVIDENCE = Gauge(
    "nextbest_canary_log_e",
    "Evidence that the canary is worse than the champion: log of the e-value",
    ["placement"],
    multiprocess_mode="mostrecent",
)
CANARY_OBSERVATIONS = Gauge(
    "nextbest_canary_observations",
    "Customers of the canary whose result is counted",
    ["placement"],
    multiprocess_mode="mostrecent",
)
OUTCOMES_PASSED_OVER = Counter(
    "nextbest_triggers_passed_over",
    "Outcomes of which triggers made nothing, since their decision cannot be read",
)
TRIGGERS_FIRED = Counter("nextbest_triggers_fired", "Firings of triggers: occasions that call for a decision")
DRIFTS = Counter(
    "nextbest_drifts", "Changes of an offer's acceptance that were detected", ["placement", "offer"]
)

"""The advisory locks in Postgres, each with what only one may do at a time. Migrations have one of their own."""

CATALOGUE_LOCK = 7_263_845_191
"""Publish a change of the catalogue."""
ARCHIVER_LOCK = 7_263_845_192
"""Move the archived positions, or count on them not to move."""
POLICIES_LOCK = 7_263_845_193
"""Register and retire policies, and put them to use."""
GUARD_LOCK = 7_263_845_194
"""Count what became of canaries."""
DRIFT_LOCK = 7_263_845_195
"""Watch acceptance for drift."""
SHADOW_LOCK = 7_263_845_196
"""Evaluate shadows."""
FORGETTING_LOCK = 7_263_845_197
"""Look what the default forgets."""
ALERT_LOCK = 7_263_845_198
"""Look at alerts."""
ERASING_LOCK = 7_263_845_199
"""Erase customers; whoever stores customers holds it shared, so that nothing is stored beside an erasure."""
RETENTION_LOCK = 7_263_845_200
"""Remove what is older than it may be."""
TRIGGERS_LOCK = 7_263_845_201
"""Follow the log for triggers, or count on nothing being made of it for them."""
TRIGGER_DAYS_LOCK = 7_263_845_202
"""Look for customers whose day it is, for triggers."""
TRIGGER_SEEDS_LOCK = 7_263_845_206
"""Begin waits of triggers with the archive, or count on none being begun."""
ROLL_UP_LOCK = 7_263_845_207
"""Roll up the days of reports on hold-outs."""
REPORT_DAYS_LOCK = 7_263_845_210
"""Roll up the days of reports on offers and on calibration."""
ALIASES_LOCK = 7_263_845_205
"""Note that a visitor is a customer: so no two of them can become each other."""
IDENTIFIERS_LOCK = 7_263_845_211
"""Make and remove the indexes by which customers are searched for."""
WARMING_SPACE = 7_263_846
"""Warm a policy up: the first of a pair, with the hash of ``name@version``."""
RUNNING_SPACE = 7_263_847
"""Run a job that was asked for: the first of a pair, with the hash of its id."""

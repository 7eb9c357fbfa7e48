"""The layout of the tests: what they share stands in tests/support, and nobody imports a test module."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PACKAGES = ("app", "bandits", "decisioning", "nextbest_client", "profiles", "rules", "storage")
LARGE = 90
"""Lines from which on a module has a unit file of its own."""
COVERED = {
    # Protocols, without a body.
    "decisioning/log/ports.py": "unit/test_borders.py",
    # HTTP: what is asked and answered, over HTTP.
    "app/api/arms/routes.py": "contract/test_arms_api.py",
    "app/api/arms/schemas.py": "contract/test_arms_api.py",
    "app/api/customers/editing.py": "contract/test_editing_customers.py",
    "profiles/privacy/store_consents.py": "contract/test_consent_records.py",
    "app/api/changesets/routes.py": "contract/test_changesets.py",
    "app/api/changesets/schemas.py": "contract/test_changesets.py",
    "decisioning/changesets/store_changesets.py": "contract/test_changesets.py",
    "decisioning/changesets/store_rows.py": "properties/test_changeset_laws.py",
    "decisioning/policies/store_facts.py": "contract/test_warnings_api.py",
    "app/api/catalogue/history_routes.py": "contract/test_catalogue_life.py",
    "app/api/catalogue/kind_routes.py": "contract/test_catalogue_kinds.py",
    "app/api/catalogue/routes.py": "contract/test_catalogue_api.py",
    "app/api/catalogue/schemas.py": "contract/test_catalogue_api.py",
    "app/api/customers/lists_routes.py": "contract/test_customer_lists.py",
    "app/api/customers/lists_schemas.py": "contract/test_customer_lists.py",
    "app/api/exports/routes.py": "contract/test_exports.py",
    "app/api/decisions/routes.py": "contract/test_decisions_api.py",
    "app/api/deployments/routes.py": "contract/test_policies_api.py",
    "app/api/deployments/schemas.py": "contract/test_policies_api.py",
    "app/api/evaluations/schemas.py": "contract/test_evaluations_api.py",
    "app/api/events/routes.py": "contract/test_events_api.py",
    "app/api/events/schemas.py": "contract/test_events_api.py",
    "app/console/oidc.py": "contract/test_oidc.py",
    "app/console/routes.py": "contract/test_console_api.py",
    "app/console/sessions.py": "contract/test_console_api.py",
    "app/api/exports/schemas.py": "contract/test_exports.py",
    "app/api/feedback/routes.py": "contract/test_feedback_api.py",
    "app/api/feedback/schemas.py": "contract/test_feedback_api.py",
    "app/api/health/routes.py": "contract/test_health_api.py",
    "app/api/monitoring/routes.py": "contract/test_drift.py",
    "app/api/monitoring/schemas.py": "contract/test_guardrails.py",
    "app/api/policies/routes.py": "contract/test_policies_api.py",
    "app/api/policies/schemas.py": "contract/test_policies_api.py",
    "app/api/openapi.py": "contract/test_openapi.py",
    "app/api/public/schemas.py": "contract/test_public_api.py",
    "app/api/reports/calibration_schemas.py": "contract/test_calibration_report.py",
    "app/api/reports/offer_schemas.py": "contract/test_offer_report.py",
    "app/api/reports/without_offer_schemas.py": "contract/test_without_offer.py",
    "app/api/reports/holdout_schemas.py": "contract/test_holdout_report.py",
    "app/api/reports/funnel_schemas.py": "contract/test_offer_funnel.py",
    "app/api/capacity/routes.py": "contract/test_capacity_hours.py",
    "app/api/evaluations/routes.py": "contract/test_evaluations_api.py",
    "app/api/reports/schemas.py": "contract/test_reports_api.py",
    "app/api/suppressions/schemas.py": "contract/test_suppressions_api.py",
    "app/api/privacy/routes.py": "contract/test_person_export.py",
    "app/api/privacy/schemas.py": "contract/test_person_export.py",
    "app/api/privacy/services.py": "contract/test_erasure.py",
    "app/commands/customers.py": "contract/test_erasure.py",
    "app/api/rules/schemas.py": "contract/test_rules_api.py",
    "app/api/triggers/routes.py": "contract/test_firings.py",
    "app/api/triggers/schemas.py": "contract/test_firings.py",
    "app/api/dead_letters/routes.py": "contract/test_dead_letters.py",
    "app/api/dead_letters/schemas.py": "contract/test_dead_letters.py",
    # The client: both kinds of it, against a service that does as it is told.
    **{
        f"nextbest_client/{module}.py": "unit/nextbest_client/test_clients.py"
        for module in ("answers", "asking", "asynchronous", "synchronous")
    },
    # Processes and commands: they put parts together, and are run as they are.
    "app/commands/catalogues.py": "unit/app/commands/test_catalog.py",
    "app/commands/changesets.py": "contract/test_changesets_command.py",
    "app/commands/deadletters.py": "contract/test_archiving.py",
    "app/commands/log.py": "e2e/test_replay.py",
    "app/commands/service.py": "contract/test_server.py",
    "app/imports.py": "contract/test_imports_api.py",
    "app/main.py": "contract/test_openapi.py",
    "app/metrics.py": "unit/app/test_telemetry.py",
    "app/publishable/store.py": "contract/test_public_api.py",
    "app/state.py": "contract/test_health_api.py",
    "app/worker/alerting/jobs.py": "contract/test_alerts.py",
    "app/worker/archiver.py": "e2e/test_exactly_once.py",
    "app/worker/drift_watch.py": "contract/test_drift.py",
    "app/worker/event_inbox.py": "contract/test_event_inbox.py",
    "app/worker/export_runs.py": "contract/test_exports.py",
    "app/worker/guardrail_watch.py": "contract/test_guardrails.py",
    "app/worker/run.py": "e2e/test_two_workers.py",
    "app/worker/shadow_runs.py": "contract/test_shadows.py",
    "app/worker/triggers/deliveries.py": "contract/test_firings.py",
    "decisioning/errors.py": "unit/app/test_errors.py",
    # Stores: statements and functions, on real servers.
    "decisioning/capacity/store_counting.py": "contract/test_capacity_counts.py",
    "decisioning/capacity/store_hours.py": "contract/test_capacity_hours.py",
    "decisioning/capacity/store_leases.py": "e2e/test_capacity.py",
    "decisioning/capacity/store_pricing.py": "contract/test_capacity_value.py",
    "decisioning/capacity/store_replenish.py": "e2e/test_capacity.py",
    "decisioning/catalog/alert.py": "contract/test_alerts.py",
    "decisioning/catalog/store.py": "contract/test_catalogue_life.py",
    "decisioning/catalog/store_checks.py": "contract/test_catalogue_life.py",
    "decisioning/catalog/store_entries.py": "contract/test_catalogue_life.py",
    "decisioning/events/intake_service.py": "contract/test_events_api.py",
    "decisioning/merging/merge_service.py": "contract/test_merging.py",
    "decisioning/merging/store_aliases.py": "contract/test_merging.py",
    "decisioning/merging/store_handover.py": "properties/test_merging_laws.py",
    "decisioning/privacy/erasure_service.py": "contract/test_erasure.py",
    "decisioning/events/store_population.py": "contract/test_population.py",
    "app/api/upkeep.py": "contract/test_versions.py",
    "decisioning/events/store_inbox.py": "contract/test_event_inbox.py",
    "decisioning/events/store_events.py": "contract/test_events_api.py",
    "decisioning/evaluation/store_comparison.py": "contract/test_shadows.py",
    "profiles/store_suppressions.py": "contract/test_suppressions_api.py",
    "decisioning/privacy/store_customer_log.py": "contract/test_person_export.py",
    "decisioning/privacy/store_retention.py": "contract/test_retention.py",
    "profiles/privacy/store_notes.py": "contract/test_customer_notes.py",
    "profiles/privacy/store_registers.py": "contract/test_registers.py",
    "decisioning/privacy/store_erasing.py": "contract/test_erasure.py",
    "profiles/privacy/store_erasures.py": "contract/test_erasure.py",
    "decisioning/reporting/store_alert_checks.py": "contract/test_alerts.py",
    "decisioning/reporting/store_alerts.py": "contract/test_alerts.py",
    "decisioning/reporting/store_customer_decisions.py": "contract/test_customer_lists.py",
    "decisioning/reporting/holdout_service.py": "contract/test_holdout_report.py",
    "decisioning/reporting/store_holdout_report.py": "contract/test_holdout_report.py",
    "decisioning/reporting/store_offer_report.py": "contract/test_offer_report.py",
    "decisioning/reporting/over_time/store_policy_selections.py": "contract/test_arms_api.py",
    "decisioning/reporting/store_calibration.py": "contract/test_calibration_report.py",
    "decisioning/reporting/days/store_roll_up.py": "contract/test_report_days.py",
    "decisioning/evaluation/store_shadows.py": "contract/test_shadows.py",
    "bandits/regression/linearisation.py": "unit/decisioning/learning/test_linearisation.py",
    "app/api/catalogue/trigger_schemas.py": "contract/test_triggers.py",
    "decisioning/triggers/conditions_service.py": "contract/test_triggers.py",
    "decisioning/triggers/days_service.py": "contract/test_triggers.py",
    "decisioning/triggers/following_service.py": "properties/test_trigger_laws.py",
    "decisioning/triggers/store_following.py": "contract/test_triggers.py",
    "decisioning/log/closing_service.py": "contract/test_left_decisions.py",
    "decisioning/rollout/autopilot_service.py": "contract/test_autopilot.py",
    "decisioning/rollout/autopilot_turns.py": "unit/decisioning/rollout/test_autopilot.py",
    "decisioning/rollout/default_service.py": "contract/test_default_features.py",
    "decisioning/rollout/forgetting_service.py": "contract/test_default_forgetting.py",
    "decisioning/exporting/day_files.py": "unit/decisioning/exporting/test_export_service.py",
    "decisioning/exporting/schema.py": "unit/decisioning/exporting/test_decision_rows.py",
    "decisioning/exporting/log_files.py": "unit/decisioning/exporting/test_log_evaluation.py",
    "decisioning/exporting/store_sources.py": "contract/test_exports.py",
    "decisioning/learning/store_linearisation.py": "contract/test_relinearising.py",
    "decisioning/learning/store_warm_start.py": "contract/test_warm_start.py",
    "decisioning/log/lookup_service.py": "contract/test_public_api.py",
    "decisioning/triggers/decision_service.py": "contract/test_firings.py",
    "decisioning/triggers/delivery_service.py": "contract/test_firings.py",
    "decisioning/triggers/store_delivery.py": "contract/test_firings.py",
    "decisioning/log/store_archive.py": "e2e/test_folds.py",
    "decisioning/log/households/store_contacts.py": "contract/test_households.py",
    "decisioning/log/store_redis.py": "properties/test_contact_model.py",
    "decisioning/log/store_size.py": "unit/app/commands/test_size.py",
    "decisioning/log/store_sql.py": "e2e/test_folds.py",
    "decisioning/policies/store.py": "contract/test_policies_api.py",
    "decisioning/policies/store_rows.py": "contract/test_policies_api.py",
    "decisioning/recovery/store_events.py": "contract/test_events_api.py",
    "decisioning/recovery/store_rebuild.py": "e2e/test_lost_redis.py",
    "decisioning/rollout/store_canary.py": "contract/test_guardrails.py",
    "decisioning/reporting/over_time/store_canary_course.py": "contract/test_guardrails.py",
    "decisioning/rollout/store_drift.py": "contract/test_drift.py",
}
"""Large modules whose tests need the service or a server, with the file below ``tests`` in which they stand."""
# Texts count too: programs that tests start, and classes that they name, are found by their dotted paths.
DOTTED = re.compile(r"\btests(?:\.\w+)+")
STEP = re.compile(r'"([a-z_]+(?:\.\w+)+):([A-Z]\w*\.\w+)"')
"""A method at which tests interrupt a process: ``"module:Class.method"``."""


def stray_paths(source: str) -> Iterator[str]:
    """The modules of tests outside tests/support that a module imports, or names in a text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = DOTTED.findall(node.value)
        else:
            continue
        yield from (name for name in names if re.match(r"tests\.(?!support\b)|\.|conftest\b|test_", name))


def test_helpers_stand_in_tests_support() -> None:
    modules = [path.relative_to(TESTS).as_posix() for path in TESTS.rglob("*.py")]
    stray = [path for path in modules if not re.search(r"^support/|(^|/)(test_\w+|conftest)\.py$", path)]
    assert stray == []
    assert not [path for path in modules if re.search(r"^support/.*(test_\w+|conftest)\.py$", path)]


def test_large_modules_have_a_unit_file_at_the_same_path() -> None:
    root = TESTS.parent
    large = {
        path.relative_to(root).as_posix()
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) >= LARGE
    }
    without = {
        module
        for module in large
        if not (TESTS / "unit" / module).with_name(f"test_{Path(module).name}").exists()
    }
    assert without - set(COVERED) == set()


def test_what_is_covered_elsewhere_says_where() -> None:
    for module, covering in COVERED.items():
        assert (TESTS.parent / module).exists()
        assert (TESTS / covering).exists()
        assert not (TESTS / "unit" / module).with_name(f"test_{Path(module).name}").exists(), (
            "it has a file now"
        )


def test_no_test_module_and_no_conftest_is_imported() -> None:
    found = {
        path.relative_to(TESTS).as_posix(): stray
        for path in TESTS.rglob("*.py")
        if path != Path(__file__).resolve() and (stray := list(stray_paths(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


def test_the_steps_that_tests_name_exist() -> None:
    steps = {step for path in TESTS.rglob("*.py") for step in STEP.findall(path.read_text(encoding="utf-8"))}
    assert len(steps) > 5
    for module, method in steps:
        assert callable(attrgetter(method)(import_module(module)))


@pytest.mark.parametrize(
    "source",
    [
        "from tests.unit.test_capacity import CAP",
        "from tests import conftest",
        "import tests.contract.conftest",
        "def f():\n    from .test_capacity import CAP",
        "from conftest import servers",
        'command = "from tests.unit.bandits.test_features import *"',
    ],
)
def test_imports_of_test_modules_are_found(source: str) -> None:
    assert list(stray_paths(source)) != []


@pytest.mark.parametrize(
    "source",
    [
        "from tests.support import gate",
        "from tests.support.gate import Gate",
        "import tests.support.gate",
        "x = 'tests'",
    ],
)
def test_imports_of_helpers_pass(source: str) -> None:
    assert list(stray_paths(source)) == []

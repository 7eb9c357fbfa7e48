"""docs/triggers.md says what the code does."""

import re
from pathlib import Path

from app.catalog_check import check_entry
from decisioning.catalog.catalogue import build_catalogue
from decisioning.catalog.yaml_document import from_yaml
from decisioning.model.trigger import DEFAULT_AGAIN_S

PAGE = (Path(__file__).parents[5] / "docs" / "triggers.md").read_text(encoding="utf-8")


def test_the_example_is_a_catalogue_with_every_occasion() -> None:
    (document,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    triggers = build_catalogue(1, from_yaml(document, check_entry), {}).triggers
    assert {
        o for t in triggers.values() for o in ("event", "outcome", "date", "idle") if getattr(t.on, o)
    } == {
        "event",
        "outcome",
        "date",
        "idle",
    }
    assert triggers["birthday"].again_after_s == DEFAULT_AGAIN_S == 86_400
    assert [c.placement for c in triggers["basket"].choices] == ["sms", "call"]

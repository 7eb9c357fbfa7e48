"""What a file may leave out is what a request may leave out, and it means the same."""

from typing import Any

import pytest

from app.api.catalogue.kind_schemas import SIMPLE_KINDS
from app.catalog_check import body_schema, check_entry
from decisioning.catalog.kinds import KINDS
from decisioning.catalog.yaml_document import from_yaml, to_yaml
from tests.support.rich_things import RICH_THINGS

NEEDED: dict[str, dict[str, Any]] = {
    kind: {
        name: body[name] for name, field in body_schema(kind).body.model_fields.items() if field.is_required()
    }
    for kind, (_, body) in RICH_THINGS.items()
}


@pytest.mark.parametrize("kind", RICH_THINGS)
def test_defaults_may_be_left_out_as_in_requests(kind: str) -> None:
    name = "gold/banner" if kind == "treatment" else RICH_THINGS[kind][0].rpartition("/")[2]
    sent = body_schema(kind).body.model_validate(NEEDED[kind]).stored()
    entry = (kind, name, KINDS[kind].normalise(name, sent))
    assert KINDS[kind].normalise(name, NEEDED[kind]) == entry[2]
    check_entry(kind, name, NEEDED[kind])
    if kind == "treatment":
        offer = ("offer", "gold", {"name": "Gold", "group": "cards", "value": 1.0})
        assert from_yaml(to_yaml([offer, entry]), check_entry) == [offer, entry]
    else:
        assert from_yaml(to_yaml([entry]), check_entry) == [entry]


def test_every_kind_of_files_has_a_body() -> None:
    assert SIMPLE_KINDS.keys() <= RICH_THINGS.keys() == {k.name for k in KINDS.values() if k.in_files}

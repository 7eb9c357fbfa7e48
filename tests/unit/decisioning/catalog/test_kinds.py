"""The descriptors of kinds: bodies to things and back."""

from dataclasses import fields

import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.kind import Entry
from decisioning.catalog.kinds import DEPLOYMENT, GOAL, KINDS, OFFER, TREATMENT, section_path, top_level_kinds
from decisioning.model.deployment import Deployment
from tests.support.catalogue_strategies import catalogues

SLOW = settings(max_examples=60, suppress_health_check=list(HealthCheck))


@SLOW
@given(catalogues())
def test_a_second_time_nothing_is_left_to_normalise(entries: list[Entry]) -> None:
    once = {
        (kind, name): KINDS[kind].normalise(name, body) for kind, name, body in entries if body is not None
    }
    assert once == {(kind, name): KINDS[kind].normalise(name, body) for (kind, name), body in once.items()}


@SLOW
@given(catalogues())
def test_a_thing_is_the_same_from_its_own_body(entries: list[Entry]) -> None:
    for name_of_kind, name, body in entries:
        kind = KINDS[name_of_kind]
        assert body is not None
        thing = kind.load(name, body)
        assert kind.load(name, kind.dump(thing)) == thing
        assert kind.load(name, kind.normalise(name, body)) == thing


def test_a_deployment_is_the_same_from_its_own_body() -> None:
    deployment = Deployment("home", "thompson@2", shadows=("linear@1",), since={"thompson@2": 7})
    assert DEPLOYMENT.load("home", DEPLOYMENT.dump(deployment)) == deployment
    assert DEPLOYMENT.normalise("home", DEPLOYMENT.dump(deployment)) == {
        "champion": "thompson@2",
        "shadows": ["linear@1"],
        "since": {"thompson@2": 7},
    }


def test_unknown_fields_are_refused_at_every_depth() -> None:
    offer = {"name": "Gold", "group": "cards", "value": 1.0}
    rule = {"name": "a", "tier": "eligibility", "when": "true"}
    step = {"step_id": "a", "text": "b"}
    treatment = {"channel": "web", "language": "en", "title": "a", "message": "b"}
    OFFER.load("gold", offer | {"rules": [rule]})
    TREATMENT.load("gold/web", treatment | {"script": {"steps": [step]}})
    for kind, body in (
        (OFFER, offer | {"colour": "red"}),
        (OFFER, offer | {"rules": [rule | {"colour": "red"}]}),
        (TREATMENT, treatment | {"script": {"steps": [step | {"colour": "red"}]}}),
        (DEPLOYMENT, {"canary": {"policy": "a@1", "share": 0.1, "since_ms": 0, "colour": "red"}}),
    ):
        with pytest.raises(ValidationError, match="colour"):
            kind.load("a/b", body)


@pytest.mark.parametrize("lever", [True, "5", None])
def test_a_lever_is_a_number(lever: object) -> None:
    with pytest.raises(ValidationError):
        GOAL.load("grow", {"lever": lever})
    whole = GOAL.load("grow", {"lever": 5})
    assert (whole.lever, type(whole.lever)) == (5.0, float)


def test_paths() -> None:
    assert section_path(OFFER, "gold") == "offers.gold"
    assert section_path(TREATMENT, "gold/web") == "offers.gold.treatments.web"


def test_every_section_is_an_attribute_of_the_catalogue() -> None:
    assert {kind.section for kind in top_level_kinds()} <= {field.name for field in fields(Catalogue)}
    with pytest.raises(TypeError, match="zebras"):
        Catalogue(1, zebras={})

"""docs/treatments.md says what the code does."""

import json
import re
from pathlib import Path

from pydantic import TypeAdapter

from app.api.catalogue.schemas import TreatmentBody
from decisioning.model.entities import Script, Treatment
from decisioning.treatments.filters import FILTERS, MAX_VALUE_CHARS
from decisioning.treatments.template import MAX_CHARS, MAX_VARIABLES, parse_text
from decisioning.treatments.treatment import MAX_OBJECTIONS, MAX_STEPS, OFFER_FIELDS, check_treatment
from rules.expression import Checker
from rules.vocabulary import Attribute, Vocabulary

PAGE = (Path(__file__).parents[4] / "docs" / "treatments.md").read_text()
VOCABULARY = Vocabulary.of(
    [Attribute("customer.first_name", "string"), Attribute("context.reason", "string")]
)


def test_the_example_can_be_saved() -> None:
    found = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    body = TreatmentBody.model_validate(json.loads(found[1])).stored()
    treatment = TypeAdapter(Treatment).validate_python(body | {"treatment_id": "call"})
    check_treatment(treatment, VOCABULARY)
    assert isinstance(treatment.script, Script)
    for step in treatment.script.steps:
        if step.when is not None:
            Checker(VOCABULARY).check(step.when)


def test_all_filters_are_in_the_table_and_can_be_written_like_that() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    written = [use for row in rows for use in re.findall(r"`(.*?)`", row)]
    assert {use.partition("(")[0] for use in written} == set(FILTERS)
    for use in written:
        parse_text(f"{{{{ customer.first_name | {use} }}}}")


def test_the_numbers_and_names_are_those_of_the_code() -> None:
    for words in (
        f"cut after {MAX_VALUE_CHARS} characters",
        f"texts after {MAX_CHARS}",
        f"most {MAX_VARIABLES} variables",
        f"most {MAX_STEPS} steps and {MAX_OBJECTIONS} objections",
        *(f"`{name}`" for name in OFFER_FIELDS),
    ):
        assert words in PAGE.replace("\n", " ")

"""Model files in specifications that are sent: looked up by their hash, and offers' attributes frozen beside them.

A file is kept inside the specification of its version, in Postgres. People are shown its hash instead, and may send
that again.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bandits.errors import PolicyParameterError
from bandits.onnx.model_file import decode_model, encode_model
from bandits.onnx.offer_features import parse_offer_features
from bandits.policy import PolicySpec
from bandits.specification import spec_to_dict
from decisioning.errors import Invalid, NotFound
from decisioning.model.entities import Group, Offer
from decisioning.policies.store_rows import get_policy
from storage.postgres import transaction

ALGORITHM = "onnx"
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_KEY = re.compile(r"[a-z][a-z0-9_-]{0,63}@[1-9][0-9]{0,6}")


def needs_look_up(values: Any) -> bool:
    """Return whether a specification, as it was sent, cannot be read without what is registered already."""
    if not isinstance(values, Mapping):
        return False
    return values.get("algorithm") == ALGORITHM or isinstance(values.get("propensity_source"), str)


async def look_up_models(
    values: Mapping[str, Any], engine: AsyncEngine, offers: Iterable[Offer], groups: Mapping[str, Group]
) -> dict[str, Any]:
    """Put in what a specification, as it was sent, only names. Raises ``Invalid``.

    The file of a hash, and its own hash; the attributes of offers as they are now; the model of the policy that is
    the ``propensity_source``.
    """
    found = dict(values)
    source = found.get("propensity_source")
    if isinstance(source, str):
        found["propensity_source"] = await _read_source(engine, source)
    parameters = found.get("parameters")
    if found.get("algorithm") != ALGORITHM or not isinstance(parameters, Mapping):
        return found
    filled = dict(parameters)
    model = filled.get("model")
    known = _HASH.fullmatch(model) if isinstance(model, str) else None
    if known is not None:
        filled["model"] = await _read_file(engine, known[1])
    try:
        filled.update(encode_model(decode_model(filled.get("model"), filled.get("sha256"))))
        if filled.get("offer_features") and "offers" not in filled:
            filled["offers"] = freeze_offers(filled["offer_features"], offers, groups)
    except PolicyParameterError as error:
        raise Invalid(error.field or "parameters", str(error)) from None
    return found | {"parameters": filled}


def freeze_offers(
    offer_features: Any, offers: Iterable[Offer], groups: Mapping[str, Group]
) -> dict[str, dict[str, Any]]:
    """Return the attributes that features of offers name, by the offers' numbers. Raises ``PolicyParameterError``."""
    wanted = [feature.attribute for feature in parse_offer_features(offer_features)]
    frozen = {}
    for offer in sorted(offers, key=lambda offer: offer.number):
        own = {"offer_id": offer.offer_id, "group": offer.group, "value": offer.value}
        known = {**offer.attributes, **own, "goal": groups[offer.group].goal}
        frozen[str(offer.number)] = {name: known[name] for name in wanted if name in known}
    return frozen


def shown_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored specification as it is shown: a file by its hash, the source of propensities by its name.

    Sent again, it is the same specification.
    """
    shown = dict(body)
    parameters = shown.get("parameters")
    if shown.get("algorithm") == ALGORITHM and isinstance(parameters, Mapping) and "sha256" in parameters:
        shown["parameters"] = {**parameters, "model": f"sha256:{parameters['sha256']}"}
    source = shown.get("propensity_source")
    if isinstance(source, Mapping):
        shown["propensity_source"] = source["policy"]
    return shown


async def _read_file(engine: AsyncEngine, digest: str) -> str:
    query = "SELECT spec #>> '{parameters,model}' FROM policies WHERE spec #>> '{parameters,sha256}' = :digest LIMIT 1"
    async with transaction(engine) as connection:
        found = await connection.scalar(text(query), {"digest": digest})
    if found is None:
        raise Invalid("parameters.model", f"no registered policy has the model {digest}: send the file")
    return str(found)


async def _read_source(engine: AsyncEngine, key: str) -> dict[str, Any]:
    field = "propensity_source"
    if not _KEY.fullmatch(key):
        raise Invalid(field, f"is the policy whose model it is, as name@version, not {key[:80]!r}")
    try:
        async with transaction(engine) as connection:
            spec: PolicySpec = (await get_policy(connection, key)).spec
    except NotFound:
        raise Invalid(field, f"there is no registered policy {key}") from None
    if spec.algorithm != ALGORITHM:
        raise Invalid(
            field, f"{key} is of the algorithm {spec.algorithm}: a source is a model file, of {ALGORITHM}"
        )
    body = spec_to_dict(spec)
    return {"policy": key, "parameters": body["parameters"], "features": body.get("features", [])}

"""Propensities from a model file in the place of precomputed ones, for a policy that learns to correct them."""

from copy import copy

from bandits.errors import PolicyParameterError
from bandits.onnx.propensity_model import PARAMETERS, PropensityModel
from bandits.policy import Policy, PolicySpec


def attach_source(policy: Policy, spec: PolicySpec) -> Policy:
    """Give a policy the source of propensities of its specification, if that has one, as ``propensity_source``.

    Whoever asks the policy, or teaches it, puts the source's propensities in the place of precomputed ones. The facts
    that the source reads are among those of the policy's encoder. Raises ``PolicyParameterError``.
    """
    said = spec.propensity_source
    if said is None:
        return policy
    if spec.algorithm == "onnx":
        raise PolicyParameterError(
            "onnx has a model of its own: it takes no propensity_source", "propensity_source"
        )
    # How a policy chooses with its model is its own affair.
    parameters = {name: value for name, value in said.parameters.items() if name in PARAMETERS}
    try:
        source = PropensityModel(parameters, said.features)
    except PolicyParameterError as error:
        raise PolicyParameterError(
            f"the propensities of {said.policy}: {error}", f"propensity_source.{error.field}"
        ) from error
    encoder = copy(policy.encoder)  # others may have the same
    encoder.paths = encoder.paths | source.encoder.paths
    policy.encoder = encoder
    policy.propensity_source = source  # type: ignore[attr-defined]
    return policy

"""Keys that tokens are checked with, and the one algorithm that goes with each."""

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from app.publishable.verifier import (
    ALGORITHMS,
    Algorithm,
    Bearer,
    InvalidToken,
    TokenVerifier,
    algorithm_of,
    check_token_key,
)

SECRET = "s" * 32
CLAIMS = {"sub": " ann ", "aud": ["nextbest", "others"], "iat": 1000, "exp": 1300}
Pair = RSAKey | ECKey | OKPKey
PAIRS: dict[Algorithm, Pair] = {
    "RS256": RSAKey.generate_key(2048),
    "ES256": ECKey.generate_key("P-256"),
    "Ed25519": OKPKey.generate_key("Ed25519"),
}


def public(key: Pair) -> str:
    """The half of a pair that everybody may have."""
    return key.as_pem(private=False).decode()


@pytest.mark.parametrize("algorithm", PAIRS)
def test_each_algorithm_takes_its_own_tokens_and_no_others(algorithm: Algorithm) -> None:
    pem = public(PAIRS[algorithm])
    assert algorithm_of(pem) == algorithm
    verifier = TokenVerifier(algorithm, check_token_key(algorithm, pem), "nextbest", lambda: 1100.0)
    for other, pair in PAIRS.items():
        token = jwt.encode({"alg": other}, CLAIMS, pair, algorithms=[other])
        if other == algorithm:
            assert verifier.verify(token).customer_id == "ann"
            continue
        with pytest.raises(InvalidToken, match="not a token signed by"):
            verifier.verify(token)


def test_the_times_of_a_token_are_kept_with_a_little_leeway() -> None:
    key = check_token_key("HS256", SECRET)
    token = jwt.encode({"alg": "HS256"}, CLAIMS, key)

    def verify(at_s: float) -> Bearer:
        return TokenVerifier("HS256", key, "nextbest", lambda: at_s).verify(token)

    assert {verify(at_s).placements for at_s in (970.0, 1000.0, 1329.0)} == {None}
    for at_s, reason in ((969.0, "not valid yet"), (1330.0, "expired")):
        with pytest.raises(InvalidToken, match=reason):
            verify(at_s)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("text", ["", "short", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"])
def test_what_is_no_key_is_refused(algorithm: Algorithm, text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        check_token_key(algorithm, text)


def test_private_keys_short_keys_and_other_curves_are_refused() -> None:
    pair = PAIRS["RS256"]
    with pytest.raises(ValueError, match="private key"):
        algorithm_of(pair.as_pem(private=True).decode())
    with pytest.raises(ValueError, match="P-384"):
        check_token_key("ES256", public(ECKey.generate_key("P-384")))
    with pytest.raises(ValueError, match="X25519"):
        check_token_key("Ed25519", public(OKPKey.generate_key("X25519")))
    with pytest.raises(ValueError, match="no key in PEM"):
        check_token_key("HS256", public(pair))

"""The answer of a replay says whether it is identical, how far it is off, and whether other versions computed it."""

import msgspec
import pytest

from decisioning.evaluation.replay_service import Replayed
from decisioning.model.decision import RUNTIME, DecidedOffer, LoggedFactors


def replayed(again: DecidedOffer, runtime: str | None = RUNTIME) -> Replayed:
    logged = DecidedOffer("a", 1, 2.0, LoggedFactors(P=0.2, V=10.0), 0.75)
    return Replayed("d", "p@1", 3, 4, runtime, [logged], [again])


SAME = DecidedOffer("a", 1, 2.0, LoggedFactors(P=0.2, V=10.0), 0.75)


def test_a_replay_with_the_same_bits_and_versions_has_no_caveat() -> None:
    found = replayed(SAME)

    assert (found.identical, found.difference, found.caveat) == (True, 0.0, None)


def test_a_replay_tells_how_far_numbers_are_off_and_that_offers_are_others() -> None:
    near = replayed(msgspec.structs.replace(SAME, score=2.0 + 2.0**-51))
    other = replayed(msgspec.structs.replace(SAME, offer_id="b"))

    assert not near.identical
    assert near.difference == pytest.approx(2.0**-52)
    assert not other.identical
    assert other.difference is None


def test_a_replay_says_that_other_versions_or_an_earlier_build_decided() -> None:
    earlier, elsewhere = replayed(SAME, None), replayed(SAME, "python 3.14.0 numpy 3.0.0")

    assert "earlier build" in (earlier.caveat or "")
    assert "numpy 3.0.0" in (elsewhere.caveat or "")
    assert RUNTIME in (elsewhere.caveat or "")

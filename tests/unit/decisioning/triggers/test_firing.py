"""Firings, and what reports on hold-outs keep of them: the same whatever is offered."""

from decisioning.catalog.catalogue import Catalogue
from decisioning.decide.policy_runner import assign_holdouts
from decisioning.holdouts.holdout import Holdout
from decisioning.model.entities import Placement
from decisioning.model.trigger import Trigger, TriggerChannel, TriggerDelivery, TriggerOn
from decisioning.triggers.firing import Candidate, Counted, counted_of, firing_of

HALF = Holdout("half", 0.5, starts_ms=1_000, ends_ms=2_000)
LATER = Holdout("later", 0.5, starts_ms=2_000)
PLACEMENTS = {name: Placement(name, channel=name) for name in ("sms", "mail")}
SHOP = Catalogue(7, placements=PLACEMENTS, holdouts={"half": HALF, "later": LATER})
ME = next(
    c
    for c in map(str, range(99))
    if len(assign_holdouts(c, [Holdout("half", 0.5), Holdout("later", 0.5)], 0)) == 2
)
EVENT = TriggerOn(event="call")
TO = TriggerDelivery(stream="s")


def counted(trigger: Trigger, at_ms: int = 1_500, catalogue: Catalogue = SHOP) -> Counted | None:
    """What is kept of a firing."""
    return counted_of(Candidate(trigger, ME, "event e1", {}, at_ms), catalogue)


def test_who_is_held_out_is_told_as_of_the_time_at_which_it_fired() -> None:
    trigger = Trigger("t", EVENT, TO, placement="sms")
    assert [counted(trigger, at_ms) for at_ms in (999, 1_000, 2_000)] == [
        Counted(held, "sms", "sms", decides=True) for held in ((), ("half",), ("later",))
    ]


def test_the_placement_is_known_where_no_offer_chooses_it() -> None:
    both = TriggerChannel("sms"), TriggerChannel("mail")
    assert counted(Trigger("t", EVENT, TO, channels=both)) == Counted(("half",))
    dear = (TriggerChannel("mail", 2.0),)
    assert counted(Trigger("t", EVENT, TO, channels=dear)) == Counted(
        ("half",), "mail", "mail", decides=False
    )
    left = TriggerChannel("gone"), TriggerChannel("mail")
    assert counted(Trigger("t", EVENT, TO, channels=left)) == Counted(("half",), "mail", "mail", decides=True)
    assert counted(Trigger("t", EVENT, TO, placement="gone")) == Counted(("half",))


def test_what_only_those_have_who_were_offered_something_counts_for_nobody() -> None:
    assert counted(Trigger("t", TriggerOn(outcome="accepted"), TO, placement="sms")) is None
    assert (
        counted(Trigger("t", EVENT, TO, placement="sms"), catalogue=Catalogue(7, placements=PLACEMENTS))
        is None
    )


def test_a_firing_has_the_version_and_the_deadline_of_its_trigger() -> None:
    trigger = Trigger("t", EVENT, TO, placement="sms", within_s=60)
    firing = firing_of(Candidate(trigger, ME, "event e1", {"event": "call"}, 1_500), SHOP)
    assert (firing.catalogue_version, firing.fired_at_ms, firing.deadline_at_ms) == (7, 1_500, 61_500)
    assert firing.counted == Counted(("half",), "sms", "sms", decides=True)

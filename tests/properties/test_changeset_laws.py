"""Laws of change sets on a real database, whatever is done with them by whom, in whatever order."""

import asyncio
from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from decisioning.catalog.store import CatalogueStore
from decisioning.changesets.changeset import EDITS, Action, Actor, Changeset, possible_actions
from decisioning.changesets.store_changesets import ChangesetStore
from decisioning.errors import Conflict, DecisioningError, NotAllowed
from storage.postgres import make_engine

PEOPLE = tuple(Actor(f"key:{name}", name, name == "eva") for name in ("ada", "bea", "cem", "eva"))
STEPS = st.lists(
    st.tuples(st.sampled_from(get_args(Action)), st.sampled_from(PEOPLE), st.integers(0, 3)), max_size=14
)


def group(lever: int) -> dict[str, Any]:
    return {"name": "Cards", "goal": "grow", "lever": float(lever)}


async def take(
    store: ChangesetStore, changeset: Changeset, action: Action, actor: Actor, n: int, approvals: bool
) -> Changeset:
    """Do something with a change set, as the API does."""
    number = changeset.changeset_id
    name = f"law-{number}-{n}"
    if action == "put_item":
        return await store.put_item(number, ("group", name, group(n + changeset.revision)), actor)
    if action == "drop_item":
        return await store.drop_item(number, "group", name, actor)
    if action == "rebase":
        return await store.rebase(number, actor, "mine")
    if action == "apply":
        return (await store.apply(number, actor, "", None, approvals=approvals))[0]
    if action == "roll_back":
        return (await store.roll_back(number, actor, "", None, approvals=approvals, force=False))[0]
    return await store.act(number, action, actor)


async def walk(url: str, steps: list[tuple[Action, Actor, int]], approvals: bool) -> None:
    engine = make_engine(url, pool_size=1)
    try:
        store, catalogues = ChangesetStore(engine), CatalogueStore(engine)
        author = PEOPLE[0]
        changeset = await store.create("Law", "", author)
        writers, submitter, approved_as = {author.person}, "", None
        for action, actor, n in steps:
            version = await catalogues.version()
            possible = action in possible_actions(changeset, actor, approvals=approvals)
            refused: DecisioningError | None = None
            try:
                after = await take(store, changeset, action, actor, n, approvals)
            except DecisioningError as error:
                refused = error
            if refused is not None:
                # Only what is there can be dropped or taken back, and what is the same is not published.
                may_fail = ("drop_item", "apply", "roll_back") if possible else ("drop_item",)
                assert action in may_fail or isinstance(refused, Conflict | NotAllowed), refused
                assert action in may_fail or not possible, refused
                assert await store.find(changeset.changeset_id) == changeset, "it changes nothing"
                assert await catalogues.version() == version
                continue
            assert possible
            assert after.revision == changeset.revision + 1
            if action in EDITS:
                writers.add(actor.person)
                approved_as = None
            if action == "submit":
                submitter = actor.person
            if action == "approve":
                assert actor.person not in {*writers, submitter}
                approved_as = after.items
            if action == "apply" and approvals:
                assert approved_as == after.items, "what is in force is what another person approved"
            published = action in ("apply", "roll_back")
            assert await catalogues.version() == version + published
            assert after.writers == writers
            changeset = after
        trail = await store.steps(changeset.changeset_id)
        assert [step.revision for step in trail] == list(range(1, changeset.revision + 1))
        if changeset.state == "applied":
            bodies = {name: body for kind, name, body in (await catalogues.entries())[1] if kind == "group"}
            assert all(bodies.get(name) == body for _, name, body in changeset.items)
        if changeset.state == "rolled_back":
            left = {name for _, name, _ in (await catalogues.entries())[1]}
            assert not left & {name for _, name, _ in changeset.items}
    finally:
        await engine.dispose()


@given(STEPS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_nothing_is_in_force_that_nobody_else_approved(
    postgres_url: str, steps: list[tuple[Action, Actor, int]], approvals: bool
) -> None:
    asyncio.run(walk(postgres_url, steps, approvals))

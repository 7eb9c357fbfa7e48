"""Results of rules that depend on the customer alone, kept for as long as the customer's profile stays the same."""

from collections import OrderedDict

from decisioning.decide.request import Work
from rules.evaluation import Results

MOST = 20_000

Key = tuple[int, str, str, int]


class RuleResultCache:
    """The results of the customers seen last, by catalogue, placement, customer and the checksum of the profile.

    A profile that was not read from the cache has no checksum, and nothing is kept of it.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._found: OrderedDict[Key, Results] = OrderedDict()

    def of(self, work: Work) -> Results | None:
        """What is known of a request's customer; ``None`` if it has to be found out."""
        if not work.view.plan.lasting or work.request.explain or not work.profile.fingerprint:
            return None
        key = _key(work)
        found = self._found.get(key)
        if found is not None:
            self._found.move_to_end(key)
        return found

    def keep(self, work: Work) -> None:
        """Keep what was found out for a request."""
        if not work.view.plan.lasting or not work.profile.fingerprint:
            return
        self._found[_key(work)] = work.evaluation.lasting(work.view.plan)
        if len(self._found) > self._most:
            self._found.popitem(last=False)


def _key(work: Work) -> Key:
    placement = work.view.placement.placement_id
    return work.catalogue.version, placement, work.request.customer_id, work.profile.fingerprint

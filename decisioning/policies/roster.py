"""The policies of an installation by ``name@version``: those that it always has, and those that were registered."""

from collections.abc import Iterable, Iterator, Mapping

from bandits.errors import BanditsError
from bandits.policy import Policy, PolicyKey, PolicySpec
from bandits.registry import BUILT_IN, build_policy
from bandits.sequential_policy import is_learner
from rules.history import HistoryCall, calls_among


def build_or_reason(spec: PolicySpec) -> Policy | str:
    """Build the policy of a specification, or return the reason why it cannot be built here."""
    try:
        return build_policy(spec)
    except BanditsError as error:
        return str(error) or type(error).__name__


class Roster(Mapping[str, Policy]):
    """The policies that a process can use; it grows while that runs.

    Specifications are immutable, so what is here once stays as it is. One that cannot be built here (its algorithm is
    of a package that is not installed) is kept apart, in ``broken``, with the reason: whatever needs it falls back, and
    says so, until it is added again and can be built. ``paths``: the facts that any policy learns from; ``history``:
    those of them that are asked of the customer's own history.
    """

    def __init__(self, specs: Iterable[PolicySpec] = BUILT_IN) -> None:
        self._specs: dict[str, PolicySpec] = {}
        self._policies: dict[str, Policy] = {}
        self._retired: frozenset[str] = frozenset()
        self.broken: dict[str, str] = {}
        self.paths: tuple[str, ...] = ()
        self.history: tuple[HistoryCall, ...] = ()
        self.add(specs)

    def __getitem__(self, key: str) -> Policy:
        return self._policies[key]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._policies))

    def __len__(self) -> int:
        return len(self._policies)

    def spec(self, key: str) -> PolicySpec:
        """Return the specification of ``name@version``. Raises ``KeyError``."""
        return self._specs[key]

    def broken_specs(self) -> list[PolicySpec]:
        """Return the specifications of policies that cannot be built here."""
        return [self._specs[key] for key in self.broken if key in self._specs]

    def add(
        self, specs: Iterable[PolicySpec], built: Mapping[str, Policy | str] | None = None
    ) -> list[PolicyKey]:
        """Take in what is not here yet; returns the keys of what is new and usable.

        ``built``: results of ``build_or_reason``, for those that were built elsewhere.
        """
        new = []
        for spec in specs:
            known = self._specs.get(spec.key)
            if known is not None and (spec.key in self._policies or known != spec):
                continue
            self._specs[spec.key] = spec
            policy = (built or {}).get(spec.key) or build_or_reason(spec)
            if isinstance(policy, str):
                self.broken[spec.key] = policy
            else:
                self._policies[spec.key] = policy
                self.broken.pop(spec.key, None)
                new.append(spec.key)
        self._find_paths()
        return new

    def mark_unreadable(self, key: str, reason: str) -> None:
        """Note a policy whose specification cannot even be read here."""
        self.broken.setdefault(key, reason)

    def retire(self, keys: Iterable[str]) -> None:
        """Set the policies that learn no more, replacing those set before. They stay here for replays."""
        self._retired = frozenset(keys)
        self._find_paths()

    def learning(self) -> list[str]:
        """Return the keys of the policies that learn, sorted."""
        return sorted(
            key for key, policy in self._policies.items() if is_learner(policy) and key not in self._retired
        )

    def _find_paths(self) -> None:
        """Find the facts that have to be logged, since some policy learns from them."""
        found: set[str] = set()
        for key, policy in self._policies.items():
            if key not in self._retired:
                found |= policy.encoder.paths
        self.paths = tuple(sorted(found))
        self.history = calls_among(self.paths)

"""The policies of an installation by ``name@version``: those that it always has, and those that were registered."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from bandits.errors import BanditsError
from bandits.policy import Policy, PolicyKey, PolicySpec
from bandits.registry import BUILT_IN, build
from bandits.sequential_policy import learns

NOTHING: Mapping[str, Policy | str] = MappingProxyType({})


def make(spec: PolicySpec) -> Policy | str:
    """The policy of a specification, or why it cannot be made here."""
    try:
        return build(spec)
    except BanditsError as error:
        return str(error) or type(error).__name__


class Roster(Mapping[str, Policy]):
    """Grows while a process runs. Specifications are immutable, so what is here once stays as it is.

    A specification that cannot be built here (its algorithm is of a package that is not installed) is kept apart, in
    ``broken``, with the reason: whatever needs it falls back, and says so.
    """

    def __init__(self, specs: Iterable[PolicySpec] = BUILT_IN) -> None:
        self._specs: dict[str, PolicySpec] = {}
        self._policies: dict[str, Policy] = {}
        self._retired: frozenset[str] = frozenset()
        self.broken: dict[str, str] = {}
        self.paths: tuple[str, ...] = ()
        self.add(specs)

    def __getitem__(self, key: str) -> Policy:
        return self._policies[key]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._policies))

    def __len__(self) -> int:
        return len(self._policies)

    def spec(self, key: str) -> PolicySpec:
        """The specification of ``name@version``. Raises ``KeyError``."""
        return self._specs[key]

    def add(self, specs: Iterable[PolicySpec], made: Mapping[str, Policy | str] = NOTHING) -> list[PolicyKey]:
        """Take in what is not here yet; returns the keys of what is new and usable.

        ``made``: policies that ``make`` has made elsewhere, or why they cannot be.
        """
        new = []
        for spec in specs:
            if spec.key in self._specs:
                continue
            self._specs[spec.key] = spec
            policy = made.get(spec.key) or make(spec)
            if isinstance(policy, str):
                self.broken[spec.key] = policy
            else:
                self._policies[spec.key] = policy
                new.append(spec.key)
        self._find_paths()
        return new

    def cannot(self, key: str, reason: str) -> None:
        """Note a policy whose specification cannot even be read here."""
        self.broken.setdefault(key, reason)

    def retire(self, keys: Iterable[str]) -> None:
        """Say which policies learn no more, replacing what was said before. They stay here for replays."""
        self._retired = frozenset(keys)
        self._find_paths()

    def learning(self) -> list[str]:
        """The keys of the policies that learn, sorted."""
        return sorted(
            key for key, policy in self._policies.items() if learns(policy) and key not in self._retired
        )

    def _find_paths(self) -> None:
        """The facts that have to be logged, since some policy learns from them."""
        found: set[str] = set()
        for key, policy in self._policies.items():
            if key not in self._retired:
                found |= policy.encoder.paths
        self.paths = tuple(sorted(found))

"""Policies of installed packages: found by name, loaded when needed, refused with a reason; nothing else runs."""

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from bandits import plugins
from bandits.conformance.checks import check, checks_for
from bandits.errors import BanditsError, PluginError, PolicyParameterError, UnknownPolicy
from bandits.policy import PolicySpec
from bandits.registry import ALGORITHMS, build_policy, list_algorithms
from bandits.specification import parse_spec
from decisioning.policies.roster import Roster

DOC = (Path(__file__).resolve().parents[3] / "docs" / "policies-of-your-own.md").read_text(encoding="utf-8")
Install = Callable[..., None]
MODULE = """
from bandits.algorithms.epsilon_greedy import EpsilonGreedyPolicy

class Mine(EpsilonGreedyPolicy):
    algorithm = "mine"

class Raising(Mine):
    def __init__(self, spec):
        raise ZeroDivisionError("no luck")

class Renamed(Mine):
    def __init__(self, spec):
        super().__init__(spec)
        self.name = "renamed"

class Nothing:
    def __init__(self, spec):
        self.name, self.version = spec.name, spec.version

number = 7
"""


def block(language: str) -> str:
    """The one block of the page in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", DOC, re.S | re.M)
    return str(found)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a module as a distribution with entry points, as pip would leave it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def installed(package: str, source: str, **points: str) -> None:
        (tmp_path / f"{package}.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8"
        )
        lines = [f"{name} = {value}" for name, value in points.items()]
        (info / "entry_points.txt").write_text(
            "\n".join([f"[{plugins.GROUP}]", *lines, ""]), encoding="utf-8"
        )
        plugins.clear_plugin_cache()

    yield installed
    for name in set(sys.modules) - before:
        if name.startswith("nb_test_") or name == "optimist":
            del sys.modules[name]
    plugins.clear_plugin_cache()


def spec(algorithm: str, **parameters: float) -> PolicySpec:
    return PolicySpec("x", 1, algorithm, parameters)


def test_a_policy_of_a_package_is_found_by_name_and_imported_when_it_is_needed(install: Install) -> None:
    install("nb_test_good", MODULE, mine="nb_test_good:Mine")
    assert list_algorithms()["mine"] == "nb_test_good:Mine of nb_test_good 1.0"
    assert set(list_algorithms()) == {*ALGORITHMS, "mine"}
    assert "nb_test_good" not in sys.modules
    policy = build_policy(spec("mine", epsilon=0.3))
    assert (policy.name, policy.epsilon) == ("x", 0.3)
    check(policy)


def test_one_that_cannot_be_imported_is_reported_and_the_rest_goes_on(install: Install) -> None:
    install("nb_test_bad", "import no_such_module_at_all\n", broken="nb_test_bad:Mine")
    install("nb_test_exit", "raise SystemExit(3)\n", leaving="nb_test_exit:Mine")
    install(
        "nb_test_good",
        MODULE,
        mine="nb_test_good:Mine",
        lost="nb_test_good:Lost",
        seven="nb_test_good:number",
    )
    for name, reason in (
        ("broken", "nb_test_bad:Mine of nb_test_bad 1.0 cannot be imported.*no_such_module_at_all"),
        ("leaving", "cannot be imported: SystemExit"),
        ("lost", "nb_test_good:Lost.*cannot be imported.*has no attribute 'Lost'"),
        ("seven", "is int, not the class of a policy"),
    ):
        with pytest.raises(PluginError, match=reason):
            build_policy(spec(name))
    assert build_policy(spec("mine")).name == "x"
    roster = Roster([spec("broken"), PolicySpec("y", 1, "mine")])
    assert list(roster) == ["y@1"]
    assert "no_such_module_at_all" in roster.broken["x@1"]
    assert issubclass(PluginError, BanditsError)


def test_what_is_no_policy_is_refused(install: Install) -> None:
    install(
        "nb_test_good",
        MODULE,
        raising="nb_test_good:Raising",
        renamed="nb_test_good:Renamed",
        nothing="nb_test_good:Nothing",
    )
    with pytest.raises(PolicyParameterError, match="raising cannot be made of this: ZeroDivisionError"):
        build_policy(spec("raising"))
    with pytest.raises(PluginError, match="has to take name and version from its specification"):
        build_policy(spec("renamed"))
    with pytest.raises(PluginError, match="nothing is no policy: it has no width, shared, epsilon"):
        build_policy(spec("nothing"))


def test_a_name_that_is_taken_is_refused(install: Install) -> None:
    install("nb_test_clash", MODULE, thompson="nb_test_clash:Mine", Loud="nb_test_clash:Mine")
    install("nb_test_one", MODULE, twice="nb_test_one:Mine")
    install("nb_test_two", MODULE, twice="nb_test_two:Mine")
    assert set(list_algorithms()) == set(ALGORITHMS)
    assert type(build_policy(spec("thompson"))) is ALGORITHMS["thompson"]
    assert plugins.refused_plugins(ALGORITHMS).keys() == {"thompson", "Loud", "twice"}
    with pytest.raises(PluginError, match=r"several packages.*nb_test_one 1.0 and .*nb_test_two 1.0"):
        build_policy(spec("twice"))
    with pytest.raises(PluginError, match="a name is small letters"):
        build_policy(spec("Loud"))
    assert not any(name.startswith("nb_test_") for name in sys.modules)


@pytest.mark.parametrize(
    "path", ["nb_test_good:Mine", "nb_test_good.Mine", "nb_test_good", "os:system", "../nb_test_good", ""]
)
def test_a_specification_cannot_name_a_class_by_its_path(install: Install, path: str) -> None:
    install("nb_test_good", MODULE, mine="nb_test_good:Mine")
    with pytest.raises(UnknownPolicy, match=r"there is no algorithm .*; there are: .*mine"):
        build_policy(spec(path))
    with pytest.raises(PolicyParameterError) as caught:
        parse_spec({"name": "x", "version": 1, "algorithm": path})
    assert caught.value.field == "algorithm"
    assert "nb_test_good" not in sys.modules


def test_a_specification_of_a_package_that_is_missing_or_broken_names_the_algorithm(install: Install) -> None:
    install("nb_test_bad", "1 / 0\n", broken="nb_test_bad:Mine")
    with pytest.raises(PolicyParameterError, match="cannot be imported: ZeroDivisionError") as caught:
        parse_spec({"name": "x", "version": 1, "algorithm": "broken"})
    assert caught.value.field == "algorithm"


def test_the_policy_of_the_documentation_keeps_all_laws(install: Install) -> None:
    points = tomllib.loads(block("toml"))["project"]["entry-points"][plugins.GROUP]
    install("optimist", block("python"), **points)
    said = parse_spec(yaml.safe_load(block("yaml")))
    assert (said.key, said.algorithm) == ("hopeful@1", "optimist")
    check(build_policy(said))
    with pytest.raises(PolicyParameterError, match="did you mean 'bonus'") as caught:
        parse_spec({**yaml.safe_load(block("yaml")), "parameters": {"bonsu": 1}})
    assert caught.value.field == "parameters.bonsu"


def test_the_documentation_names_every_law() -> None:
    named = re.findall(r"^\| `(\w+)` \|", DOC, re.M)
    assert named == [law.__name__ for law in checks_for(build_policy(spec("thompson")))]

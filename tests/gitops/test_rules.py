"""Everything that git says should run follows the rules, and every rule rejects something.

The platform and every service in every environment are rendered as Argo CD would render them: with Helm 4, the values
of envs/, the pins of release.yaml (or of releases/ if nothing is released yet), and the charts of the working tree. The
same is done for a repository of four environments on two clusters with three services, and for this repository after
`gitops new` added an environment and a service.

Each fixture under rejected/ makes one change in this repository, and names the rule that must reject it. It starts with
`# rejected: TEXT`, which must be part of the rule's sentence. kube-prometheus-stack is not downloaded. It is judged if
`helm pull` has put it into .cache/charts, and otherwise only by its values, in test_monitoring.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.gitops import application_rules, installation, object_rules
from tests.gitops.mutation import mutated
from tests.gitops.stack import Stack

RULES: dict[str, application_rules.Rule] = {
    rule.__name__: rule for rule in (*application_rules.RULES, *object_rules.RULES)
}
REJECTED = sorted((Path(__file__).parent / "rejected").glob("*.yaml"))
MARK = "# rejected: "


def skip_without_definitions(rule: str) -> None:
    if rule == "well_formed" and not installation.definitions():
        pytest.skip(installation.MISSING)


def reason(path: Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith(MARK), f"{path} must start with: {MARK}TEXT"
    return first.removeprefix(MARK).strip()


def fixture(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("rule", RULES)
def test_the_repository_keeps_to(rule: str, everything: Stack) -> None:
    skip_without_definitions(rule)
    assert list(RULES[rule](everything)) == []


# Many services do not fit one small node.
@pytest.mark.parametrize("rule", sorted(RULES.keys() - {"fits"}))
def test_a_wider_repository_keeps_to(rule: str, wide: Stack) -> None:
    skip_without_definitions(rule)
    assert list(RULES[rule](wide)) == []


@pytest.mark.parametrize("rule", sorted(RULES.keys() - {"fits"}))
def test_a_repository_that_has_grown_keeps_to(rule: str, grown: Stack) -> None:
    skip_without_definitions(rule)
    assert list(RULES[rule](grown)) == []


@pytest.mark.parametrize("path", REJECTED, ids=lambda path: path.stem)
def test_is_rejected(path: Path, everything: Stack) -> None:
    content = fixture(path)
    skip_without_definitions(content["rule"])
    said = list(RULES[content["rule"]](mutated(everything, content)))
    assert any(reason(path) in sentence for sentence in said), said


def test_every_rule_rejects_something() -> None:
    assert {fixture(path)["rule"] for path in REJECTED} == set(RULES)

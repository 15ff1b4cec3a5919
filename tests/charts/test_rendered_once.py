"""Tests reuse what another test has rendered, if chart and values are the same."""

from pathlib import Path

import pytest

from tests.support import helm

CHART = "minio"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str | Path, ...]]:
    """Record the runs of Helm, in a test run that has rendered nothing yet."""
    seen: list[tuple[str | Path, ...]] = []
    run = helm.run

    def noted(program: str, *arguments: str | Path) -> helm.Outcome:
        seen.append(arguments)
        return run(program, *arguments)

    monkeypatch.setattr(helm, "run", noted)
    monkeypatch.setenv(helm.RENDERED, str(tmp_path))
    return seen


def test_the_same_input_is_rendered_once_unless_again_is_set(runs: list[tuple[str | Path, ...]]) -> None:
    scenario = helm.scenarios(CHART)[0]
    first, second = helm.template(CHART, scenario), helm.template(CHART, scenario)
    assert first == second
    assert "kind: StatefulSet" in second.output
    assert len(runs) == 1
    assert helm.template(CHART, scenario, again=True).output == first.output
    assert len(runs) == 2


def test_other_values_names_and_charts_are_rendered_again(
    runs: list[tuple[str | Path, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario, more = helm.scenarios(CHART)[0], tmp_path / "more.yaml"
    more.write_text("podLabels: {a: b}", encoding="utf-8")
    plain, labelled = helm.template(CHART, scenario), helm.template(CHART, scenario, more)
    assert labelled.output != plain.output
    more.write_text("podLabels: {a: c}", encoding="utf-8")
    assert helm.template(CHART, scenario, more).output != labelled.output
    assert helm.template(CHART, scenario, release="other").output != plain.output
    assert helm.template(CHART, scenario, namespace="other").code == 0
    assert len(runs) == 5
    charts = tmp_path / "charts"
    charts.mkdir()
    for name in (CHART, "common"):
        (charts / name).symlink_to(helm.CHARTS / name)
    monkeypatch.setattr(helm, "CHARTS", charts)
    helm.template(CHART, scenario)
    assert len(runs) == 6


def test_a_refusal_is_not_kept(runs: list[tuple[str | Path, ...]], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("unknown: value", encoding="utf-8")
    outcomes = [helm.template(CHART, helm.scenarios(CHART)[0], wrong) for _ in range(2)]
    assert all(outcome.code for outcome in outcomes)
    assert "unknown" in outcomes[1].errors
    assert len(runs) == 2

"""Shadows in a promotion's pull request, and when they prevent it, on a real Prometheus with made-up series."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from gitops.cli import execute
from gitops.cluster.client import Cluster
from gitops.cluster.status import look_around, service_table
from gitops.git.repository import Repository
from services.gitops.tests import promotion_setup
from services.gitops.tests.conftest import PLATFORM, commit_all, git
from services.gitops.tests.github import GitHub
from services.gitops.tests.made_series import prometheus
from services.gitops.tests.memory_cluster import MemoryCluster
from services.gitops.tests.promotion_setup import PRODUCTION, push, release
from services.gitops.tests.test_shadow import shadowed

# pytest finds fixtures by their names in the module.
clone, hub = promotion_setup.clone, promotion_setup.hub
NOWHERE = "http://127.0.0.1:9"
# What staging runs at first.
RUNS = 2


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus with series of production's shadows for an hour."""
    with prometheus(tmp_path_factory.mktemp("prometheus")) as server:
        yield server.url


@pytest.fixture
def tried(clone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Staging runs 2, which has been production's shadow for an hour and a half; production runs 1."""
    shadow(clone, RUNS, monkeypatch)
    return clone


def shadow(clone: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let production run version 1, with a shadow of a version that staging runs."""
    push(clone, "production", release(1), "promote(production/iris): iris 1")
    if number != RUNS:
        push(clone, "staging", release(number), f"bump(staging/iris): iris {number}")
    with monkeypatch.context() as then:
        for role in ("AUTHOR", "COMMITTER"):
            then.setenv(f"GIT_{role}_DATE", (datetime.now(UTC) - timedelta(minutes=90)).isoformat(timespec="seconds"))
        push(clone, "production", shadowed(1, number), f"shadow(production/iris): iris-classifier {number}")


def ask(clone: Path, values: str) -> None:
    """Set bounds for a shadow in the service's values."""
    file = clone / PRODUCTION.with_name("values.yaml")
    file.write_text(f"{file.read_text()}\n{values}\n")
    commit_all(clone, "ask for it")
    git(clone, "push", "--quiet")


def promote(capsys: pytest.CaptureFixture[str], where: str, code: int = 0) -> str:
    """Return the section of the body, or the message instead of it."""
    capsys.readouterr()
    assert execute(["promote", "production/iris", "--dry-run", "--json", "--prometheus-url", where]) == code
    said = capsys.readouterr()
    if code:
        return " ".join(said.err.split())
    body: str = json.loads(said.out)[0]["body"]
    return body.partition("## Shadow\n\n")[2].partition("\n\n## ")[0]


def test_the_body_compares_the_candidates_answers(
    tried: Path, metrics: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = promote(capsys, metrics)
    first, *others = said.split("\n\n")
    assert first.startswith(
        "Over 12,431 rows of production/iris the candidate agrees with 98.7 % (10 % of the requests,"
    )
    assert first.endswith(f"by {git(tried, 'rev-parse', 'HEAD')[:7]}); where not:")
    assert others == [
        "\n".join(
            [
                "| version 1 answers | version 2 | rows | share |",
                "| --- | --- | --- | --- |",
                "| `versicolor` | `virginica` | 120 | 1.0 % |",
                "| `virginica` | `versicolor` | 40 | 0.3 % |",
                "| `setosa` | `a\\|b` | 2 | 0.0 % |",
            ]
        ),
        "PSI between the answers of the two: 0.031. Difference: 0.01 in the median, 0.1 at the 95th percentile.",
        "\n".join(
            [
                "| time in the model | p50 | p95 |",
                "| --- | --- | --- |",
                "| version 1, which answers | 0.5 ms | 0.95 ms |",
                "| version 2, the candidate | 1 ms | 9.1 ms |",
            ]
        ),
        "Failed: 0 rows. Dropped because there was no time: 57 rows.",
        "No bounds are set (`shadow.minRows` and `shadow.maxDisagreement` in values.yaml), so you decide.",
    ]


def test_bounds_that_are_met_are_named_in_the_body(
    tried: Path, metrics: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(tried, "shadow: {minRows: 12431, maxDisagreement: 0.014}")
    assert "Required: at least 12,431 rows compared, and at most 0.014 of them different. This is met." in promote(
        capsys, metrics
    )


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        ("{minRows: 12432}", "iris-classifier 2 was compared over 12,431 so far. Wait"),
        ("{maxDisagreement: 0.01}", "iris-classifier 2 differs in 0.013 of 12,431 rows"),
    ],
)
def test_bounds_that_are_not_met_refuse_the_promotion(
    tried: Path, metrics: str, bounds: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(tried, f"shadow: {bounds}")
    said = promote(capsys, metrics, 3)
    assert "envs/production/iris/values.yaml: shadow" in said
    assert why in said


def test_too_many_differences_close_an_open_pull_request_but_missing_figures_do_not(
    tried: Path, metrics: str, hub: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITOPS_PROMETHEUS_URL", metrics)
    assert execute(["promote"]) == 0
    assert "agrees with 98.7 %" in hub.opened()[0]["body"]
    ask(tried, "shadow: {maxDisagreement: 0.01}")
    assert execute(["promote", "--prometheus-url", NOWHERE]) == 3
    assert len(hub.opened()) == 1
    assert execute(["promote"]) == 3
    assert hub.opened() == []
    assert "iris-classifier 2 differs in 0.013 of 12,431 rows" in hub.comments[-1][1]


def test_failed_rows_count_as_different(
    clone: Path, metrics: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow(clone, 4, monkeypatch)
    said = promote(capsys, metrics)
    assert "Over 1,000 rows of production/iris the candidate agrees with 90.0 %" in said
    assert "Failed: 100 rows." in said
    ask(clone, "shadow: {maxDisagreement: 0.05}")
    assert "differs in 0.1 of 1,000 rows" in promote(capsys, metrics, 3)


def test_counts_continue_after_the_restart_of_a_pod(
    clone: Path, metrics: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow(clone, 3, monkeypatch)
    rows = promote(capsys, metrics).removeprefix("Over ").partition(" ")[0]
    assert int(rows.replace(",", "")) == pytest.approx(2000, rel=0.05)


def test_without_counted_rows_bounds_are_not_met(
    clone: Path, metrics: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow(clone, 5, monkeypatch)
    assert promote(capsys, metrics).startswith(
        "Nothing was compared yet: the candidate is the shadow of production/iris"
    )
    ask(clone, "shadow: {maxDisagreement: 0.99}")
    assert "iris-classifier 5 was compared over 0 so far" in promote(capsys, metrics, 3)


def test_without_prometheus_the_body_says_so_and_bounds_refuse(tried: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"is not known: `Prometheus at {NOWHERE}" in promote(capsys, NOWHERE)
    assert "Its result is not known: `" in promote(capsys, "")
    ask(tried, "shadow: {minRows: 1}")
    assert "the result of iris-classifier 2 is not known. Prometheus at" in promote(capsys, NOWHERE, 3)


def test_no_body_shows_the_password_of_an_address(tried: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pull request may be public."""
    said = promote(capsys, NOWHERE.replace("//", "//ada:s3cret@"))
    assert f"is not known: `Prometheus at {NOWHERE}" in said
    assert "s3cret" not in said


def test_without_a_shadow_the_body_says_so_and_bounds_refuse(
    clone: Path, metrics: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow(clone, RUNS, monkeypatch)
    push(clone, "staging", release(3), "bump(staging/iris): iris 3")
    assert "`gitops shadow production/iris --model 3` starts that" in promote(capsys, metrics)
    ask(clone, "shadow: {minRows: 1}")
    assert "gitops shadow production/iris --model 3 starts it" in promote(capsys, metrics, 3)


def test_bounds_without_effect_count_as_none(tried: Path, metrics: str, capsys: pytest.CaptureFixture[str]) -> None:
    ask(tried, "shadow: {minRows: 0, maxDisagreement: 1}")
    assert "No bounds are set" in promote(capsys, metrics)


def test_bounds_apply_only_to_a_changed_model(clone: Path, metrics: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A first release has no earlier model to compare with, and an image needs no comparison."""
    ask(clone, "shadow: {minRows: 1000}")
    assert promote(capsys, metrics) == ""
    push(clone, "production", msgspec.structs.replace(release(1), model=release(2).model), "promote")
    assert promote(capsys, metrics) == ""


@pytest.mark.parametrize("bounds", ["{minRows: -1}", "{maxDisagreement: 5}", "{minRows: many}"])
def test_invalid_bounds_are_named(tried: Path, metrics: str, bounds: str, capsys: pytest.CaptureFixture[str]) -> None:
    ask(tried, f"shadow: {bounds}")
    assert "values of production/iris under shadow" in promote(capsys, metrics, 2)


def test_another_cluster_has_its_own_prometheus(tried: Path, metrics: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tried / PLATFORM
    text = file.read_text().replace("from: staging,", "from: staging, cluster: eu,")
    for prometheus_line, named in (("", "clusters.eu.prometheus"), (f", prometheus: {metrics}", "agrees with 98.7 %")):
        eu = f"  eu: {{server: https://eu.example.com, s3: https://s3.example.com{prometheus_line}}}\n"
        file.write_text(f"{text.rstrip()}\nclusters:\n{eu}")
        commit_all(tried, "another cluster")
        git(tried, "push", "--quiet")
        assert named in promote(capsys, NOWHERE)


def test_status_shows_a_shadow_and_its_agreement(tried: Path, metrics: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["status", "--offline"]) == 0
    assert "shadow 2, 10 %" in " ".join(capsys.readouterr().out.split())

    def note(cluster: Cluster) -> str:
        return service_table(look_around(Repository(tried), cluster).services, live=True)[1][1][-1]

    cluster = MemoryCluster()
    cluster.prometheus = metrics
    assert note(cluster) == "shadow 2, 10 %: agrees with 98.7 % of 12,431 rows"
    cluster.prometheus = NOWHERE
    assert note(cluster).startswith(f"shadow 2, 10 %: Prometheus at {NOWHERE} does not answer")
    # If pods cannot use a shadow, they report why.
    service = {"name": "iris", "namespace": "ml-pipeline-production", "labels": {}}
    service["labels"] = {"app.kubernetes.io/instance": "iris", "app.kubernetes.io/component": "server"}
    cluster.put("services", {"metadata": service, "spec": {"ports": [{"name": "metrics"}]}})
    health = {
        "models": [{"name": "iris-classifier", "version": "1", "digest": release(1).model.digest}],
        "shadow": {"version": "2", "status": "failed", "reason": "its columns are others"},
    }
    cluster.answers["ml-pipeline-production/iris:metrics/health"] = json.dumps(health)
    assert note(cluster) == "shadow 2, 10 %: failed, its columns are others"

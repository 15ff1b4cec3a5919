"""`training outcomes` on a registered model: the report, the run in MLflow, and errors about missing input."""

import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import skops.io
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression

from tests.support.prediction_logs import line, write_log
from tests.support.site import site_of
from training.tests.conftest import Outcome

NOW = datetime.now(UTC).isoformat()


@pytest.fixture
def options(trained: Any, tmp_path: Path) -> list[str]:
    """Options to read a log of the trained version, which is wrong in a third of the rows, and the truth."""
    about = {"model": trained["name"], "version": trained["version"], "digest": trained["digest"], "time": NOW}
    lines = [line(str(at), "setosa", **about, features={"petal": "long" if at % 2 else "short"}) for at in range(120)]
    write_log(tmp_path / "logs" / "staging" / "iris", lines)
    truths = ["virginica" if at % 3 == 0 else "setosa" for at in range(120)]
    table = pd.DataFrame({"request_id": [*map(str, range(120)), "nobody"], "truth": [*truths, "setosa"]})
    table.to_csv(tmp_path / "truth.csv", index=False)
    return ["outcomes", "iris", "--environment", "staging", "--log", str(tmp_path / "logs"), "--truth", "truth.csv"]


def test_the_report_compares_realised_metrics_with_the_gate(
    training: Callable[..., Outcome], options: list[str]
) -> None:
    found = training(*options, "--json", "--slice", "petal", "--refused", "aside/refused.jsonl")
    assert found.code == 0, found.err
    [version] = found.json["versions"]
    assert (found.json["joined"], found.json["refused"]) == (120, {"unknown": 1})
    assert version["realised"]["metrics"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert version["held_out"]["accuracy"] > 0.9
    assert version["gate"]["accuracy"] == {"relation": "at least", "value": 0.7}
    assert version["below_gate"] == []
    assert version["estimated"]["accuracy"]["value"] == pytest.approx(0.9, abs=0.001)
    assert {each["value"]: each["rows"] for each in version["realised"]["slices"]} == {"long": 60, "short": 60}
    [refused] = [msgspec.json.decode(each) for each in Path("aside/refused.jsonl").read_bytes().splitlines()]
    assert (refused["reason"], refused["request_id"]) == ("unknown", "nobody")


def test_a_run_in_mlflow_has_figures_pictures_and_what_was_refused(
    training: Callable[..., Outcome], options: list[str], store: str
) -> None:
    found = training(*options, "--slice", "petal")
    assert found.code == 0, found.err
    assert "accuracy" in found.out
    assert "unknown" in found.out
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("iris-outcomes")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["realised/accuracy"] == pytest.approx(2 / 3)
    assert run.data.metrics["realised/accuracy_lower"] < 2 / 3 < run.data.metrics["realised/accuracy_upper"]
    assert run.data.metrics["estimated/accuracy"] == pytest.approx(0.9, abs=0.001)
    assert run.data.metrics["held_out/accuracy"] > 0.9
    assert run.data.metrics["refused/unknown"] == 1
    tags = run.data.tags
    assert (tags["service"], tags["environment"], tags["version"]) == ("iris", "staging", "1")
    files = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert {"outcomes.json", "refused.jsonl"} <= files
    drawn = {each.path for each in client.list_artifacts(run.info.run_id, "plots")}
    assert drawn == {
        f"plots/{metric}_by_{what}.png" for metric in ("accuracy", "f1_macro") for what in ("day", "slice")
    }


def test_the_signature_of_an_address_of_truth_is_recorded_nowhere(
    training: Callable[..., Outcome], options: list[str], store: str, tmp_path: Path
) -> None:
    with site_of(tmp_path) as site:
        found = training(*options[:-1], f"{site}/truth.csv?signature=hidden", "--json")
    assert found.code == 0, found.err
    assert found.json["truth"] == [f"{site}/truth.csv"]
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("iris-outcomes")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert run.data.params["truth"] == f"{site}/truth.csv"
    kept = Path(client.download_artifacts(run.info.run_id, "outcomes.json", "."))
    assert "hidden" not in f"{run.to_dictionary()} {kept.read_text()}"


def test_a_version_that_mlflow_does_not_have_is_reported(
    training: Callable[..., Outcome], store: str, tmp_path: Path
) -> None:
    write_log(tmp_path / "logs" / "staging" / "iris", [line("one", "a", time=NOW)])
    (tmp_path / "truth.csv").write_text("request_id,truth\none,a\n")
    found = training(
        "outcomes", "iris", "--environment", "staging", "--log", "logs", "--truth", "truth.csv", "--no-record"
    )
    assert found.code == 0, found.err
    assert "has no version with its digest" in found.err
    assert MlflowClient(store).get_experiment_by_name("iris-outcomes") is None


def test_figures_of_a_model_from_elsewhere_are_not_called_held_out(
    training: Callable[..., Outcome], store: str, tmp_path: Path
) -> None:
    rows = pd.DataFrame({"a": np.arange(40.0), "y": np.repeat(["low", "high"], 20)})
    rows.to_csv("rows.csv", index=False)
    skops.io.dump(LogisticRegression().fit(rows[["a"]], rows["y"]), "model.skops")
    words = ["--data", "rows.csv", "--target", "y", "--name", "foreign", "--json"]
    made = training("register", "model.skops", *words).json
    about = {"model": "foreign", "version": made["version"], "digest": made["digest"], "time": NOW}
    write_log(tmp_path / "logs" / "staging" / "foreign", [line("one", "low", **about)])
    (tmp_path / "truth.csv").write_text("request_id,truth\none,low\n")
    found = training(
        "outcomes", "foreign", "--environment", "staging", "--log", "logs", "--truth", "truth.csv", "--json"
    )
    assert found.code == 0, found.err
    assert found.json["versions"][0]["held_out"] == {}
    assert "has no version with its digest" not in found.err


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        (("--log", "nowhere"), 2, "--log: nowhere/staging/iris is neither a folder"),
        (("--truth", "gone.csv"), 2, "gone.csv: cannot be read"),
        (("--target", "outcome"), 2, "has no column 'outcome'"),
        (("--environment", "production"), 2, "production/iris is neither a folder"),
        (("--days", "0"), 2, "days"),
        (("--query", "SELECT 1"), 2, "truth.csv is not a database"),
    ],
)
def test_missing_input_is_named_in_a_sentence(
    training: Callable[..., Outcome], store: str, tmp_path: Path, change: tuple[str, str], code: int, sentence: str
) -> None:
    write_log(tmp_path / "logs" / "staging" / "iris", [line("one", "a", time=NOW)])
    (tmp_path / "truth.csv").write_text("request_id,truth\none,a\n")
    given = {"--environment": "staging", "--log": "logs", "--truth": "truth.csv"} | dict([change])
    found = training("outcomes", "iris", *(part for pair in given.items() for part in pair))
    assert found.code == code
    assert sentence in found.err.replace("\n", " ")


def test_a_store_that_is_down_is_an_outage(
    training: Callable[..., Outcome], store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "truth.csv").write_text("request_id,truth\none,a\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("S3_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        found = training(
            "outcomes", "iris", "--environment", "staging", "--log", "s3://predictions", "--truth", "truth.csv"
        )
    assert found.code == 1
    assert "s3://predictions/staging/iris: the store does not answer" in found.err

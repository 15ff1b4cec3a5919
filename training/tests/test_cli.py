"""Proves the commands on a real MLflow store: what they register, print and refuse, and their exit codes."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from mlflow import MlflowClient

from training.bundle import Bundle

Command = Callable[..., Any]


def registered() -> list[str]:
    return [f"{entry.name}/{entry.version}" for entry in MlflowClient().search_model_versions()]


def test_a_run_registers_all_that_is_documented(trained: Any, tmp_path: Path) -> None:
    assert (trained["version"], trained["release"], trained["aliases"]) == ("1", "v1.0.0", ["candidate"])
    assert trained["gate"]["passed"]
    client = MlflowClient()
    version = client.get_model_version_by_alias("iris-classifier", "candidate")
    assert version.tags == {"release": "v1.0.0", "digest": trained["digest"], "gate": "passed"}
    assert "logistic-regression that predicts species" in str(version.description)
    folder = Path(mlflow.artifacts.download_artifacts(trained["source"], dst_path=str(tmp_path / "down")))
    # MLflow adds this file, which is not a part of the version.
    (folder / "registered_model_meta").unlink()
    assert Bundle(folder).digest() == trained["digest"]
    run = client.get_run(trained["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["model.C"] == "1.0"
    assert run.data.params["data_sha256"] == trained["data_sha256"]
    assert run.data.tags["gate"] == "passed"
    assert run.data.tags["package.scikit-learn"]
    assert run.data.metrics["accuracy"] == pytest.approx(trained["metrics"]["accuracy"])
    assert {"log_loss", "f1/setosa", "cv_accuracy_mean", "cv_log_loss_std"} <= set(run.data.metrics)
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.digest == trained["data_sha256"][:32]
    pictures = {entry.path for entry in client.list_artifacts(trained["run_id"], "plots")}
    assert pictures == {"plots/confusion_matrix.png", "plots/calibration.png", "plots/contributions.png"}
    assert client.get_logged_model(trained["model_id"]).status == "READY"


def test_the_same_inputs_give_the_same_figures_and_files(training: Command, trained: Any) -> None:
    again = training("run", "--json").json
    assert again["metrics"] == trained["metrics"]
    assert again["release"] == "v1.1.0"
    folders = [Path(mlflow.artifacts.download_artifacts(f"models:/{run['model_id']}")) for run in (trained, again)]
    for name in ("model.onnx", "model.skops", "input_example.json", "requirements.txt"):
        assert len({(folder / name).read_bytes() for folder in folders}) == 1, name


def test_a_failed_gate_registers_nothing(training: Command, trained: Any) -> None:
    outcome = training("run", "--threshold", "accuracy=0.999", "--threshold", "log_loss=0.001", "--json")
    assert outcome.code == 2
    assert "gate: accuracy: 0.921053, must be at least 0.999" in outcome.err
    assert "gate: log_loss:" in outcome.err
    result = outcome.json
    assert (result["registered"], result["version"], result["uri"]) == (False, None, None)
    client = MlflowClient()
    assert client.get_run(result["run_id"]).data.tags["gate"] == "failed"
    report = json.loads(mlflow.artifacts.load_text(f"runs:/{result['run_id']}/gate.json"))
    assert [check["name"] for check in report["checks"] if not check["passed"]] == ["accuracy", "log_loss"]
    assert registered() == ["iris-classifier/1"]
    assert client.get_registered_model("iris-classifier").aliases == {"candidate": 1}


def test_a_model_worse_than_the_champion_is_refused(training: Command, trained: Any) -> None:
    assert training("promote", "iris-classifier").code == 0
    outcome = training("run", "--param", "C=0.01")
    assert outcome.code == 2
    assert "iris-classifier version 1 (v1.0.0) has 0.922963, margin 0.02" in outcome.err


def test_releases_follow_the_contract(training: Command, blobs_of: Command) -> None:
    def run(labels: str, columns: str) -> Any:
        blobs_of(list(labels)).rename(columns=dict(zip("ab", columns, strict=True))).to_csv("blobs.csv", index=False)
        outcome = training("run", "--data", "blobs.csv", "--target", "kind", "--json")
        assert outcome.code == 0, outcome.err
        return outcome.json

    assert run("xy", "ab")["release"] == "v1.0.0"
    assert training("promote", "blobs").code == 0
    other_classes = run("xyz", "ab")
    assert other_classes["release"] == "v2.0.0"
    (champion,) = (check for check in other_classes["gate"]["checks"] if check["name"] == "champion")
    assert "blobs version 1 (v1.0.0) is not comparable" in champion["detail"]
    assert run("xyz", "ac")["release"] == "v3.0.0"


def test_settings_come_from_file_environment_and_flags(
    training: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "training.yaml").write_text(
        "data: wine\nname: from-file\nseed: 1\ngate: {thresholds: {accuracy: 0.1}}\n"
    )
    monkeypatch.setenv("TRAINING_MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("TRAINING_SEED", "2")
    monkeypatch.setenv("TRAINING_PARAM", "C=0.5 max_iter=500")
    monkeypatch.setenv("TRAINING_THRESHOLD", "f1_macro=0.2")
    monkeypatch.setenv("TRAINING_JSON", "true")
    outcome = training("run", "--name", "from-flag")
    assert outcome.code == 0, outcome.err
    result = outcome.json
    assert (result["data"], result["name"]) == ("wine", "from-flag")
    bounds = {check["name"]: check["bound"] for check in result["gate"]["checks"]}
    assert (bounds["accuracy"], bounds["f1_macro"]) == (0.1, 0.2)
    params = MlflowClient().get_run(result["run_id"]).data.params
    assert (params["seed"], params["model.C"], params["model.max_iter"]) == ("2", "0.5", "500")


ROOT = Path(__file__).parents[2]
FOLDERS = [
    path.parent for path in (*ROOT.glob("models/*/training.yaml"), *ROOT.glob("training/examples/*/training.yaml"))
]


@pytest.mark.parametrize("folder", sorted(FOLDERS), ids=lambda folder: folder.name)
def test_the_models_of_this_repository_pass_and_people_see_how(training: Command, folder: Path) -> None:
    outcome = training("run", "--model-dir", str(folder))
    assert outcome.code == 0, outcome.err
    steps = [line.split()[0] for line in outcome.err.splitlines()]
    assert steps == ["start", "load", "split", "train", "evaluate", "record", "gate", "register"]
    assert "v1.0.0" in outcome.out
    assert "direction of" in outcome.out or "invariance to" in outcome.out
    assert "\x1b" not in outcome.out + outcome.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--data", "irs"), 'Did you mean "iris"?'),
        (("--data", "gaps.csv", "--target", "kind"), "column 'kind' has 1 empty or NaN cell"),
        (("--data", "gaps.csv"), "name the column to predict with --target"),
        (("--data", "few.csv", "--target", "kind"), "6 rows are too few"),
        (("--model", "svm"), "'svm' is not known"),
        (("--param", "C"), "not of the form key=value"),
        (("--threshold", "auc=1"), "no metric 'auc'"),
        (("--threshold", "accuracy=high"), "gate.thresholds"),
        (("--model-dir", "none"), "none/training.yaml: the model's file cannot be read"),
        (("--seed", "-1"), "seed"),
        (("--test-size", "2"), "test_size"),
        (("--test-size", "much"), "--test-size"),
        (("--name", "a/b"), "name"),
        (("--nope",), "--nope"),
        (("--tracking-uri", "sqlite:////nowhere/at/all/mlflow.db"), "does not exist"),
        (("--tracking-uri", "http://"), "names no host"),
        (("--tracking-uri", "nonsense://x"), "nonsense"),
    ],
)
def test_bad_input_ends_with_one_sentence(
    training: Command, tmp_path: Path, blobs: pd.DataFrame, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "mlflow.db").unlink()
    blobs[27:33].to_csv("few.csv", index=False)
    blobs.loc[3, "kind"] = np.nan
    blobs.to_csv("gaps.csv", index=False)
    outcome = training("run", *arguments)
    assert outcome.code == 2, outcome.err
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert says in errors[0]
    assert outcome.out == ""
    assert not (tmp_path / "mlflow.db").exists(), "MLflow was used before the input was checked"


def test_parameters_that_the_estimator_refuses_record_nothing(training: Command) -> None:
    outcome = training("run", "--param", "C=-1")
    assert outcome.code == 2
    assert "LogisticRegression cannot be fitted: The 'C' parameter" in outcome.err
    assert registered() == []
    assert [entry.name for entry in MlflowClient().search_experiments()] == ["Default"]


def test_numbers_that_overflow_record_nothing(training: Command, blobs: pd.DataFrame) -> None:
    blobs.assign(a=blobs["a"] * 1e37, kind=blobs["a"] * 1e38).to_csv("huge.csv", index=False)
    outcome = training("run", "--data", "huge.csv", "--target", "kind")
    assert outcome.code == 2, outcome.err
    assert "error: huge.csv: ridge overflows float32" in outcome.err
    assert registered() == []


def test_evaluate_uses_the_held_out_rows_of_the_run(training: Command) -> None:
    result = training("run", "--seed", "5", "--test-size", "0.3", "--json").json
    for reference in ("iris-classifier@candidate", "iris-classifier/v1.0.0", f"runs:/{result['run_id']}"):
        outcome = training("evaluate", reference, "--json")
        assert outcome.code == 0, outcome.err
        assert outcome.json["metrics"] == result["metrics"]
        assert outcome.json["digest"] == result["digest"]
        assert outcome.json["same_data"]
        checks = [[check["name"] for check in one["gate"]["checks"]] for one in (outcome.json, result)]
        assert checks[0] == ["digest", *checks[1]]


def test_evaluate_fails_with_the_gate(training: Command, trained: Any) -> None:
    outcome = training("evaluate", "models:/iris-classifier/1", "--threshold", "accuracy=0.999")
    assert outcome.code == 2
    assert "gate: accuracy:" in outcome.err
    assert "recall/setosa" in outcome.out


def test_evaluate_refuses_files_that_were_not_registered(training: Command, trained: Any) -> None:
    MlflowClient().set_model_version_tag("iris-classifier", "1", "digest", "sha256:other")
    outcome = training("evaluate", "iris-classifier@candidate", "--json")
    assert outcome.code == 2
    assert f"gate: digest: {trained['digest']}, registered as sha256:other" in outcome.err
    assert [check["name"] for check in outcome.json["gate"]["checks"]] == ["digest"]


def test_evaluate_refuses_what_does_not_fit(training: Command, trained: Any) -> None:
    for arguments, says in (
        (("iris-classifier@candidate", "--data", "wine"), "wine: no column 'species' to predict"),
        (
            ("iris-classifier@candidate", "--data", "wine", "--target", "cultivar"),
            "the model expects sepal length (cm)",
        ),
        (("iris-classifier@champion",), "no version, release or alias 'champion'"),
        (("other@candidate",), "has no version of a model 'other'"),
        (("runs:/0123",), "has no run '0123'"),
        (("iris-classifier",), "is not of the form NAME@ALIAS"),
    ):
        outcome = training("evaluate", *arguments)
        assert outcome.code == 2
        assert says in outcome.err


def test_evaluate_says_when_the_data_differs(training: Command, blobs_of: Command) -> None:
    blobs_of(["x", "y"]).to_csv("blobs.csv", index=False)
    assert training("run", "--data", "blobs.csv", "--target", "kind").code == 0
    blobs_of(["x", "y"], rows=40).to_csv("blobs.csv", index=False)
    outcome = training("evaluate", "blobs@candidate", "--json")
    assert outcome.code == 0, outcome.err
    assert not outcome.json["same_data"]
    assert "differs from the data that the model was trained on" in outcome.err


def test_a_model_of_a_query_is_evaluated_on_a_file(training: Command, blobs: pd.DataFrame, tmp_path: Path) -> None:
    address, query = f"sqlite:///{tmp_path / 'shop.db'}", "SELECT * FROM blobs ORDER BY a"
    engine = sa.create_engine(address)
    blobs.to_sql("blobs", engine, index=False)
    engine.dispose()
    outcome = training("run", "--data", address, "--query", query, "--target", "kind", "--name", "blobs")
    assert outcome.code == 0, outcome.err
    blobs.to_csv("later.csv", index=False)
    judged = training("evaluate", "blobs@candidate", "--data", "later.csv", "--json")
    assert judged.code == 0, judged.err
    assert judged.json["data"] == "later.csv"
    assert training("evaluate", "blobs@candidate", "--json").json["same_data"] is True


def test_promote_moves_aliases_and_list_shows_them(training: Command, trained: Any) -> None:
    assert training("run").code == 0
    first = training("promote", "iris-classifier", "--from", "v1.0.0", "--to", "production")
    assert first.out == "production of iris-classifier: nothing -> iris-classifier version 1 (v1.0.0)\n"
    second = training("promote", "iris-classifier", "--json")
    assert (second.json["before"]["version"], second.json["version"]["version"]) == ("1", "2")
    assert second.json["version"]["aliases"] == ["candidate", "production"]
    assert "stays at version 2" in training("promote", "iris-classifier", "--from", "2").out
    assert MlflowClient().get_registered_model("iris-classifier").aliases == {"candidate": 2, "production": 2}

    listed = training("list", "iris-classifier", "--json").json
    assert [(entry["version"], entry["release"]) for entry in listed] == [("2", "v1.1.0"), ("1", "v1.0.0")]
    assert listed[0]["metrics"]["accuracy"] == pytest.approx(0.921, abs=0.001)
    assert len(training("list", "iris-classifier", "--limit", "1", "--json").json) == 1
    MlflowClient().delete_run(listed[1]["run_id"])
    table = training("list", "iris-classifier").out
    assert "candidate, production" in table
    assert "v1.0.0" in table


def test_the_champion_has_the_alias_that_the_model_names(training: Command, trained: Any, tmp_path: Path) -> None:
    """A fork names its environments, and the alias of the champion is an environment's name."""
    assert training("promote", "iris-classifier", "--to", "live").code == 0
    (tmp_path / "training.yaml").write_text("data: iris\nname: iris-classifier\ngate: {champion: live}\n")
    (tmp_path / "README.md").write_text("Iris.")

    def detail(*arguments: str) -> str:
        checks = training("run", *arguments, "--json").json["gate"]["checks"]
        return str(next(check["detail"] for check in checks if check["name"] == "champion"))

    assert "iris-classifier version 1 (v1.0.0) has" in detail("--model-dir", str(tmp_path))
    assert "no version has the alias 'production' (gate.champion)" in detail()
    assert training("due", "--model-dir", str(tmp_path), "--json").json["champion"] == "1"


def test_promote_and_list_refuse_unknown_names(training: Command, trained: Any) -> None:
    for arguments, says in (
        (("promote", "iris-classifier", "--from", "9"), "'9': there are the versions 1 and the aliases candidate"),
        (("promote", "iris-classifier", "--from", "best"), "no version, release or alias 'best'"),
        (("promote", "iris", "--from", "1"), "has no version of a model 'iris'"),
        (("promote", "iris-classifier", "--to", "latest"), "'latest' cannot be an alias"),
        (("promote", "iris-classifier", "--to", "v1"), "'v1' cannot be an alias"),
        (("promote", "iris-classifier", "--to", "a b"), "'a b' cannot be an alias"),
        (("promote",), "NAME"),
        (("list", "nothing"), "has no version of a model 'nothing'"),
        (("list", "it's"), "has no version of a model"),
        (("list", "iris-classifier", "--limit", "0"), "--limit"),
    ):
        outcome = training(*arguments)
        assert outcome.code == 2, arguments
        assert says in outcome.err
    MlflowClient().set_model_version_tag("iris-classifier", "1", "gate", "failed")
    assert "did not pass the gate" in training("promote", "iris-classifier").err


def test_help_is_quick_and_complete() -> None:
    script = "import sys; from training.cli import execute; execute(sys.argv[1:]); "
    script += "print('heavy:', {'mlflow', 'sklearn', 'pandas', 'numpy'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", script, "run", "--help"], capture_output=True, text=True, check=True)
    assert "heavy: set()" in shown.stdout
    for option in ("--data", "--target", "--param", "--threshold", "--tracking-uri", "TRAINING_TEST_SIZE"):
        assert option in shown.stdout


def test_a_stopped_run_ends_cleanly(store: str) -> None:
    slow = ["--data", "breast-cancer", "--model", "hist-gradient-boosting", "--param", "max_iter=1000000"]
    command = [sys.executable, "-c", "from training.cli import main; main()", "run", *slow]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = ""
        while not line.startswith("split"):
            line = process.stderr.readline()
            assert line, "the run ended by itself"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "error: interrupted."
    assert "Traceback" not in errors
    assert registered() == []

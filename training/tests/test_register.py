"""Models from elsewhere: what is refused, in one message, and what a pickle cannot do while it is opened."""

import socket
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import psutil
import pytest
import skops.io
import sqlalchemy as sa
import yaml
from mlflow import MlflowClient
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.svm import LinearSVC

from training.registering.conversion import to_graph
from training.registering.scoring import GraphScores

Command = Callable[..., Any]
RNG = np.random.default_rng(3)
ROWS = RNG.normal(size=(60, 2))
LABELS = np.where(ROWS[:, 0] > 0, "yes", "no")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    pd.DataFrame(ROWS, columns=["a", "b"]).assign(y=LABELS).to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


def processes_that_name(folder: Path) -> list[list[str]]:
    """Return the commands of the processes that have a folder in their command."""
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [command for command in commands if str(folder) in " ".join(command)]


def nothing_is_registered() -> bool:
    return not MlflowClient().search_registered_models()


def test_all_obstacles_are_named_in_one_message(training: Command, tmp_path: Path) -> None:
    joblib.dump(LogisticRegression().fit(ROWS, LABELS), tmp_path / "model.joblib")
    (tmp_path / "rows.csv").write_text("a,b,y\n1,inf,yes\n2,3,no\n")
    outcome = training(
        "register", str(tmp_path / "model.joblib"), "--data", str(tmp_path / "rows.csv"), "--target", "y"
    )
    assert outcome.code == 2
    assert "add --trust-pickle" in outcome.err
    assert "column 'b' holds inf in row 1" in outcome.err
    assert nothing_is_registered()


def test_the_data_must_be_named(training: Command, tmp_path: Path) -> None:
    outcome = training("register", str(tmp_path / "model.joblib"))
    assert outcome.code == 2
    assert "--data" in outcome.err


def test_settings_that_contradict_the_model_or_the_data_are_refused(
    training: Command, table: Path, tmp_path: Path
) -> None:
    model = LogisticRegression().fit(pd.DataFrame(ROWS, columns=["a", "b"]), LABELS)
    folder = tmp_path / "logged"
    folder.mkdir()
    skops.io.dump(model, folder / "model.skops")
    typed = {
        "flavors": {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}},
        "signature": {"inputs": '[{"name": "b", "type": "double"}, {"name": "a", "type": "double"}]'},
        "metadata": {"classes": ["yes", "no"]},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(typed))
    outcome = training("register", str(folder), "--data", str(table), "--target", "y", "--task", "regression")
    assert outcome.code == 2
    assert "--task says regression, but the LogisticRegression does classification" in outcome.err
    assert "its signature has the columns 'b', 'a', but the model with this table takes 'a', 'b'" in outcome.err
    assert "its metadata.classes are 'yes', 'no', but the model's own classes are 'no', 'yes'" in outcome.err
    assert nothing_is_registered()


def test_a_folder_can_describe_the_data(training: Command, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'shop.db'}"
    engine = sa.create_engine(address)
    frame = pd.DataFrame(ROWS, columns=["a", "b"]).assign(y=LABELS, who=np.arange(60) // 2, counts=1.5)
    frame.to_sql("rows", engine, index=False)
    engine.dispose()
    skops.io.dump(LogisticRegression().fit(ROWS, LABELS), tmp_path / "m.skops")
    told: dict[str, Any] = {"data": address, "query": "SELECT * FROM rows ORDER BY a", "target": "y", "name": "shop"}
    told |= {"split": {"group": "who"}, "weights": "counts"}
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(told))
    outcome = training("register", str(tmp_path / "m.skops"), "--model-dir", str(tmp_path), "--dry-run", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["data"] == address


def test_a_bound_of_a_figure_that_the_model_does_not_have_is_refused(
    training: Command, table: Path, tmp_path: Path
) -> None:
    skops.io.dump(LinearSVC().fit(ROWS, LABELS), tmp_path / "m.skops")
    words = ["--data", str(table), "--target", "y", "--threshold", "log_loss=0.01"]
    outcome = training("register", str(tmp_path / "m.skops"), *words)
    assert outcome.code == 2
    assert "gate.thresholds: no metric 'log_loss' for classification without probabilities" in outcome.err
    assert nothing_is_registered()


def test_a_registered_model_keeps_its_name(training: Command) -> None:
    """The name begins as MLflow's ids of logged models do."""
    assert training("run", "--name", "m-iris").code == 0
    outcome = training("register", "models:/m-iris/1", "--data", "iris", "--dry-run", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["name"] == "m-iris"


def test_columns_that_are_missing_are_named(training: Command, table: Path, tmp_path: Path) -> None:
    skops.io.dump(LogisticRegression().fit(pd.DataFrame(ROWS, columns=["a", "income"]), LABELS), tmp_path / "m.skops")
    outcome = training("register", str(tmp_path / "m.skops"), "--data", str(table), "--target", "y")
    assert outcome.code == 2
    assert "it was fitted on columns that the table lacks: 'income'; the table has 'a', 'b'" in outcome.err


def test_a_model_that_predicts_neither_labels_nor_numbers_is_refused(
    training: Command, table: Path, tmp_path: Path
) -> None:
    skops.io.dump(KMeans(2, n_init=1).fit(ROWS), tmp_path / "m.skops")
    outcome = training("register", str(tmp_path / "m.skops"), "--data", str(table), "--target", "y")
    assert outcome.code == 2
    assert "the KMeans is neither a classifier nor a regressor" in outcome.err


def test_a_model_of_a_library_without_an_estimator_is_refused(training: Command, table: Path, tmp_path: Path) -> None:
    data = lightgbm.Dataset(ROWS, LABELS == "yes")
    joblib.dump(lightgbm.train({"objective": "binary", "verbose": -1}, data, 3), tmp_path / "m.joblib")
    outcome = training("register", str(tmp_path / "m.joblib"), "--data", str(table), "--target", "y", "--trust-pickle")
    assert outcome.code == 2
    assert "the Booster is not an estimator of scikit-learn; for a Booster, use" in outcome.err


def test_a_model_that_was_not_fitted_is_refused(training: Command, table: Path, tmp_path: Path) -> None:
    skops.io.dump(LogisticRegression(), tmp_path / "m.skops")
    outcome = training("register", str(tmp_path / "m.skops"), "--data", str(table), "--target", "y")
    assert outcome.code == 2
    assert "the LogisticRegression has no classes_, as if it was never fitted" in outcome.err


def test_a_model_that_treats_missing_texts_in_its_own_way_is_told_how_to_fill_them(
    training: Command, tmp_path: Path
) -> None:
    frame = pd.DataFrame(ROWS, columns=["a", "b"]).assign(town=np.resize(["Ulm", "Bonn", None], len(ROWS)), y=LABELS)
    frame.loc[frame["town"].isna(), "y"] = "no"
    frame.to_csv(tmp_path / "rows.csv", index=False)
    words = ["--data", str(tmp_path / "rows.csv"), "--target", "y", "--trust-pickle", "--dry-run"]
    encoder = OneHotEncoder(handle_unknown="ignore")
    filled = make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), encoder)
    outcomes = []
    for text in (encoder, filled):
        prepare = make_column_transformer((text, ["town"]), ("passthrough", ["a", "b"]))
        model = make_pipeline(prepare, LogisticRegression()).fit(frame[["a", "b", "town"]], frame["y"])
        joblib.dump(model, tmp_path / "m.joblib")
        outcomes.append(training("register", str(tmp_path / "m.joblib"), *words))
    assert [outcome.code for outcome in outcomes] == [2, 0]
    assert "(all without a text in 'town': put a SimpleImputer before the encoder of this column" in outcomes[0].err


class Spy:
    """A pickle that runs code when it is opened, and raises an error that says what the code could reach."""

    def __init__(self, code: str) -> None:
        self._code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self._code, {})


SPYING = """
import os, pathlib, socket
found = []
for name, reach in {
    "network": lambda: socket.create_connection(("127.0.0.1", PORT), 2),
    "secret": lambda: os.environ["AWS_SECRET_ACCESS_KEY"],
    "home": lambda: pathlib.Path(SECRET).read_text(),
    "writing": lambda: pathlib.Path(SECRET).write_text("changed"),
}.items():
    try:
        reach()
        found.append(name)
    except (OSError, KeyError):
        pass
raise RuntimeError(f"reached {found}")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel keeps it on Linux alone")
def test_a_pickle_reaches_neither_network_nor_secrets_nor_files(
    training: Command, table: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "precious")
    secret, place = tmp_path_factory.mktemp("home") / "secret", tmp_path_factory.mktemp("model")
    secret.write_text("precious")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        code = SPYING.replace("PORT", str(listening.getsockname()[1])).replace("SECRET", repr(str(secret)))
        joblib.dump(Spy(code), place / "model.pkl")
        outcome = training(
            "register", str(place / "model.pkl"), "--data", str(table), "--target", "y", "--trust-pickle"
        )
    assert outcome.code == 2
    assert "reached []" in outcome.err
    assert "seccomp" in outcome.err
    assert secret.read_text() == "precious"
    assert nothing_is_registered()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel keeps it on Linux alone")
def test_a_pickle_cannot_read_files_next_to_it(training: Command, table: Path, tmp_path: Path) -> None:
    """A model in a home folder is next to keys."""
    secret = tmp_path / ".aws" / "credentials"
    secret.parent.mkdir()
    secret.write_text("precious")
    joblib.dump(Spy(SPYING.replace("PORT", "1").replace("SECRET", repr(str(secret)))), tmp_path / "model.pkl")
    outcome = training("register", str(tmp_path / "model.pkl"), "--data", str(table), "--target", "y", "--trust-pickle")
    assert outcome.code == 2
    assert "reached []" in outcome.err


@pytest.mark.parametrize("code", ["..", "/", "code/../.."])
def test_code_outside_the_folder_of_a_model_is_refused(
    training: Command, table: Path, tmp_path: Path, code: str
) -> None:
    folder = tmp_path / "logged"
    folder.mkdir()
    skops.io.dump(LogisticRegression().fit(ROWS, LABELS), folder / "model.skops")
    flavor = {"pickled_model": "model.skops", "serialization_format": "skops", "code": code}
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {"sklearn": flavor}}))
    outcome = training("register", str(folder), "--data", str(table), "--target", "y", "--dry-run")
    assert outcome.code == 2
    assert f"names {code!r} as its code, which is not in its folder" in outcome.err


def test_a_model_that_does_not_end_is_stopped(training: Command, table: Path, tmp_path: Path) -> None:
    joblib.dump(Spy("while True: pass"), tmp_path / "model.pkl")
    words = ["--data", str(table), "--target", "y", "--trust-pickle", "--seconds", "2"]
    outcome = training("register", str(tmp_path / "model.pkl"), *words)
    assert outcome.code == 2
    assert "did not end within 2 s" in outcome.err or "SIGXCPU" in outcome.err


def test_a_dry_run_records_nothing(training: Command, table: Path, tmp_path: Path) -> None:
    skops.io.dump(LogisticRegression().fit(ROWS, LABELS), tmp_path / "m.skops")
    outcome = training(
        "register", str(tmp_path / "m.skops"), "--data", str(table), "--target", "y", "--dry-run", "--json"
    )
    assert outcome.code == 0, outcome.err
    assert (outcome.json["registered"], outcome.json["runtime"], outcome.json["run_id"]) == (False, "onnx", None)
    assert nothing_is_registered()
    assert [experiment.name for experiment in MlflowClient().search_experiments()] == ["Default"]


def regressor(library: str) -> Any:
    """Return a regressor; the imports take long, so workers that only collect tests do not run them."""
    if library == "xgboost":
        from xgboost import XGBRegressor  # noqa: PLC0415

        return XGBRegressor(n_estimators=5)
    if library == "catboost":
        from catboost import CatBoostRegressor  # noqa: PLC0415

        return CatBoostRegressor(iterations=5, verbose=0, allow_writing_files=False)
    from lightgbm import LGBMRegressor  # noqa: PLC0415

    made = LGBMRegressor(n_estimators=5, verbose=-1)
    return make_pipeline(FunctionTransformer(np.exp), made) if library == "pipeline" else made


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost", "pipeline"])
def test_regressors_of_other_libraries_have_an_onnx_form(library: str) -> None:
    model = regressor(library)
    values = 3 * ROWS[:, 0] - ROWS[:, 1]
    model.fit(ROWS, values)
    graph = to_graph(model, ["number", "number"], (), "largest", double=False)
    found = GraphScores(graph, (), "largest").answers(ROWS)
    assert found.values == pytest.approx(np.asarray(model.predict(ROWS)), abs=1e-4)


# Writes an outcome for a model that scikit-learn runs, and a link instead of its file.
LINKING = """
import json, os, pathlib
import numpy as np
np.savez("answers.npz", codes=np.zeros(1000, dtype=np.int64))
os.symlink(SECRET, "model.skops")
said = {"kind": "Stranger", "classes": ["no", "yes"], "columns": [0, 1], "labels": "only", "form": "skops"}
pathlib.Path("outcome.json").write_text(json.dumps(said))
os._exit(0)
"""


def test_a_link_that_a_pickle_leaves_is_refused(
    training: Command, table: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The process that registers the model has credentials, and stores the file where others read it."""
    secret, place = tmp_path_factory.mktemp("home") / "secret", tmp_path_factory.mktemp("model")
    secret.write_text("precious")
    joblib.dump(Spy(LINKING.replace("SECRET", repr(str(secret)))), place / "model.pkl")
    outcome = training("register", str(place / "model.pkl"), "--data", str(table), "--target", "y", "--trust-pickle")
    assert outcome.code == 2
    assert "left a link or a special file as model.skops" in outcome.err
    assert nothing_is_registered()
    assert [experiment.name for experiment in MlflowClient().search_experiments()] == ["Default"]


STAYING = """
import os, time
if os.fork() == 0:
    try:
        os.setsid()
    except OSError:
        pass
    time.sleep(45)
    os._exit(0)
raise RuntimeError("left somebody behind")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel keeps it on Linux alone")
def test_processes_of_a_pickle_end_with_it(
    training: Command, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    joblib.dump(Spy(STAYING), tmp_path / "model.pkl")
    words = ["--data", str(table), "--target", "y", "--trust-pickle", "--seconds", "30"]
    outcome = training("register", str(tmp_path / "model.pkl"), *words)
    assert outcome.code == 2
    assert "left somebody behind" in outcome.err
    assert not processes_that_name(tmp_path)


# They start more than is allowed, and then wait until they are ended. The parent's children inherit its command.
PROCESSES = """
import os, time
for _ in range(60):
    if os.fork() == 0:
        break
time.sleep(45)
"""
THREADS = """
import threading, time
for _ in range(60):
    threading.Thread(target=time.sleep, args=(45,), daemon=True).start()
time.sleep(45)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are counted on Linux alone")
@pytest.mark.parametrize("code", [PROCESSES, THREADS], ids=["processes", "threads"])
def test_a_pickle_that_starts_too_much_is_ended(
    training: Command, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    joblib.dump(Spy(code), tmp_path / "model.pkl")
    words = ["--data", str(table), "--target", "y", "--trust-pickle", "--seconds", "30", "--threads", "40"]
    outcome = training("register", str(tmp_path / "model.pkl"), *words)
    assert outcome.code == 2
    assert "started more than 40 processes and threads; --threads allows more" in outcome.err
    assert not processes_that_name(tmp_path)


def test_output_of_a_pickle_is_not_kept_in_memory(training: Command, table: Path, tmp_path: Path) -> None:
    told = 'import os\nfor _ in range(512): os.write(2, b"x" * (1 << 19))\nraise RuntimeError("said it all")'
    joblib.dump(Spy(told), tmp_path / "model.pkl")
    tracemalloc.start()
    try:
        outcome = training(
            "register", str(tmp_path / "model.pkl"), "--data", str(table), "--target", "y", "--trust-pickle"
        )
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "said it all" in outcome.err
    assert most < 100 << 20

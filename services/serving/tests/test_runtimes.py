"""Both runtimes give the numbers of the original, and refuse what they should not load, with the way out."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from services.serving.tests.bundles import CLASSES, fitted, write_bundle
from services.serving.tests.conftest import Bundle
from serving.errors import ModelUnusableError
from serving.runtimes import base
from serving.runtimes.base import Runtime, RuntimeOptions, open_runtime
from serving.signature import read_spec


def opened(folder: Path, **options: Any) -> Runtime:
    return open_runtime(folder, read_spec(folder), RuntimeOptions(**options))


@pytest.mark.parametrize("name", ["onnx", "sklearn"])
def test_probabilities_are_those_of_the_original(iris: Bundle, name: Any) -> None:
    rows = load_iris().data
    runtime = opened(iris.folder, prefer=name)
    assert runtime.name == name
    np.testing.assert_allclose(
        runtime.run(rows.astype(runtime.dtypes[0])), fitted("iris").predict_proba(rows), atol=1e-5
    )


@pytest.mark.parametrize("name", ["onnx", "sklearn"])
def test_estimates_are_those_of_the_original(diabetes: Bundle, name: Any) -> None:
    rows = load_diabetes().data
    runtime = opened(diabetes.folder, prefer=name)
    result = runtime.run(rows.astype(runtime.dtypes[0]))
    assert result.shape == (len(rows),)
    np.testing.assert_allclose(result, fitted("diabetes").predict(rows), rtol=1e-4)


def test_auto_uses_onnx_if_there_is_one(iris: Bundle, tmp_path: Path) -> None:
    write_bundle(tmp_path, onnx=False)
    assert opened(iris.folder).name == "onnx"
    assert opened(tmp_path).name == "sklearn"
    with pytest.raises(ModelUnusableError, match="RUNTIME=auto would try scikit-learn"):
        opened(tmp_path, prefer="onnx")


@pytest.mark.parametrize(
    "estimator", [RandomForestClassifier(5), HistGradientBoostingClassifier(max_iter=5), KNeighborsClassifier()]
)
def test_common_estimators_need_no_extra_trust(tmp_path: Path, estimator: Any) -> None:
    rows, labels = load_iris(return_X_y=True)
    model = estimator.fit(rows, [CLASSES[label] for label in labels])
    write_bundle(tmp_path, estimator=model, onnx=False)
    np.testing.assert_allclose(opened(tmp_path).run(rows), model.predict_proba(rows))


def not_of_scikit_learn(rows: Any) -> Any:
    return rows


def test_other_types_are_refused_by_name_until_they_are_trusted(tmp_path: Path) -> None:
    rows, labels = load_iris(return_X_y=True)
    steps = make_pipeline(FunctionTransformer(not_of_scikit_learn), KNeighborsClassifier())
    write_bundle(tmp_path, estimator=steps.fit(rows, labels), onnx=False)
    with pytest.raises(ModelUnusableError) as caught:
        opened(tmp_path)
    assert "not_of_scikit_learn" in str(caught.value)
    assert "SKOPS_TRUSTED_TYPES" in str(caught.value)
    name = f"{not_of_scikit_learn.__module__}.not_of_scikit_learn"
    assert opened(tmp_path, extra_trusted_types=frozenset({name})).run(rows).shape == (150, 3)


def test_columns_by_name_are_refused(tmp_path: Path) -> None:
    rows, labels = load_iris(return_X_y=True, as_frame=True)
    scaled = ColumnTransformer([("scaled", StandardScaler(), list(rows.columns[:2]))], remainder="passthrough")
    write_bundle(tmp_path, estimator=make_pipeline(scaled, KNeighborsClassifier()).fit(rows, labels), onnx=False)
    with pytest.raises(ModelUnusableError, match="its ColumnTransformer picks columns by name"):
        opened(tmp_path)


def test_the_trusted_types_in_a_model_are_ignored(tmp_path: Path) -> None:
    rows, labels = load_iris(return_X_y=True)
    steps = make_pipeline(FunctionTransformer(not_of_scikit_learn), KNeighborsClassifier())
    write_bundle(tmp_path, estimator=steps.fit(rows, labels), onnx=False)
    mlmodel = tmp_path / "MLmodel"
    name = f"{not_of_scikit_learn.__module__}.not_of_scikit_learn"
    mlmodel.write_text(
        mlmodel.read_text().replace("  sklearn:\n", f"  sklearn:\n    skops_trusted_types: ['{name}']\n")
    )
    with pytest.raises(ModelUnusableError, match="not trusted"):
        opened(tmp_path)


def test_a_pickle_is_run_only_if_a_setting_allows_it(tmp_path: Path) -> None:
    write_bundle(tmp_path, onnx=False, saved_as="pickle")
    with pytest.raises(ModelUnusableError, match="PICKLE_MODELS=trust-and-run"):
        opened(tmp_path)
    assert opened(tmp_path, trust_pickle=True).name == "sklearn"


def test_without_scikit_learn_the_right_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path, onnx=False)
    monkeypatch.setattr(base, "find_spec", lambda _: None)
    with pytest.raises(ModelUnusableError, match="--target sklearn"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "options", "reason"),
    [
        ("model.onnx", None, {}, "'model.onnx' is missing"),
        ("model.onnx", b"no protobuf", {}, "ONNX file cannot be loaded"),
        ("model.skops", None, {"prefer": "sklearn"}, "'model.skops' is missing"),
        ("model.skops", b"no archive", {"prefer": "sklearn"}, "skops file cannot be read"),
    ],
)
def test_broken_files_are_refused(
    tmp_path: Path, name: str, content: bytes | None, options: dict[str, Any], reason: str
) -> None:
    write_bundle(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelUnusableError, match=reason):
        opened(tmp_path, **options)


def test_a_graph_with_other_outputs_is_refused(diabetes: Bundle, tmp_path: Path) -> None:
    write_bundle(tmp_path)
    (tmp_path / "model.onnx").write_bytes((diabetes.folder / "model.onnx").read_bytes())
    with pytest.raises(ModelUnusableError, match="output `probabilities`"):
        opened(tmp_path)


def test_a_version_without_any_form_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path, onnx=False, saved_as="")
    with pytest.raises(ModelUnusableError, match="neither an onnx nor a sklearn flavor"):
        opened(tmp_path)


def test_onnx_runtime_does_not_report_what_it_loads(tmp_path: Path) -> None:
    """If its telemetry is on, it leaves a session file in the temporary folder."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", "import serving.runtimes.onnx"]
    subprocess.run(command, env={**environment, "TMPDIR": str(tmp_path)}, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []

"""Proves that a good model passes every check of the gate, and that each check finds the fault it is for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from mlflow.models import Model
from msgspec import structs
from onnx import TensorProto, helper

from training import models
from training.baseline import measure_baseline
from training.bundle import Bundle, BundleError, BundleWriter
from training.checks import Check
from training.data import Dataset, load_dataset
from training.errors import BadInputError
from training.gate import Champion, GateReport, judge, verify_settings
from training.onnx_twin import Twin, to_onnx
from training.settings import Directional, GateSettings, Invariance
from training.split import Split, split_dataset

Saved = Callable[..., Bundle]
PETAL = "petal length (cm)"


def split_of(dataset: Dataset) -> Split:
    return split_dataset(dataset, seed=42, test_size=0.25)


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    """A function that trains a model and writes its folder; `twin` replaces the ONNX graph."""

    def save(name: str = "iris", twin: bytes | None = None, **params: float) -> Bundle:
        dataset = load_dataset(name)
        split = split_of(dataset)
        pipeline = models.build(models.default_model(dataset.task), dataset.task, params, seed=42)
        models.fit(pipeline, split.train_rows, split.train_truth)
        own = to_onnx(pipeline, dataset.columns, classifier=bool(dataset.classes))
        scores = Twin(own).scores(split.test_rows)
        baseline = measure_baseline(dataset.columns, split.train_rows, scores, dataset.classes)
        folder = tmp_path / f"bundle-{len(list(tmp_path.iterdir()))}"
        BundleWriter(pipeline, twin or own, baseline, dataset).save_model(str(folder), Model())
        return Bundle(folder)

    return save


def report(bundle: Bundle, champion: Champion | None = None, data: str = "iris", **settings: object) -> GateReport:
    return judge(bundle, split_of(load_dataset(data)), GateSettings(**settings), champion)  # type: ignore[arg-type] # any


def only_failure(found: GateReport) -> Check:
    assert not found.passed
    assert len(found.failures) == 1, [check.sentence() for check in found.failures]
    return found.failures[0]


@pytest.mark.slow
@pytest.mark.parametrize("data", ["iris", "diabetes"])
def test_a_good_model_passes(saved: Saved, data: str) -> None:
    found = report(saved(data), data=data)
    assert found.passed, [check.sentence() for check in found.failures]
    names = [check.name for check in found.checks]
    assert len(set(names)) == len(names)
    assert {"baseline", "champion", "parity", "row order", "batch and single", "noise", "latency"} < set(names)


@pytest.mark.slow
def test_thresholds_hold_in_both_directions(saved: Saved) -> None:
    bundle = saved()
    low = only_failure(report(bundle, thresholds={"accuracy": 0.99}))
    assert low.name == "accuracy"
    assert "must be at least 0.99" in low.sentence()
    high = only_failure(report(bundle, thresholds={"log_loss": 0.01}))
    assert (high.name, high.relation, high.bound) == ("log_loss", "at most", 0.01)


@pytest.mark.parametrize("data", ["iris", "diabetes"])
def test_a_model_worse_than_a_guess_fails(saved: Saved, data: str) -> None:
    dataset = load_dataset(data)
    split = split_of(dataset)
    elsewhere = structs.replace(split, test_truth=np.roll(np.sort(split.test_truth), len(split.test_truth) // 2))
    found = judge(
        saved(data), elsewhere, GateSettings(thresholds={"accuracy": 0, "r2": -9} if data == "x" else {}), None
    )
    assert "baseline" in [check.name for check in found.failures]


def test_a_model_worse_than_the_champion_fails(saved: Saved) -> None:
    champion = Champion("iris-classifier version 3 (v1.2.0)", saved())
    worse = saved(C=0.01)
    failure = only_failure(report(worse, champion))
    assert failure.name == "champion"
    assert "iris-classifier version 3 (v1.2.0) has" in failure.sentence()
    assert report(worse, champion, champion_margin=0.9).passed
    loss = only_failure(report(worse, champion, champion_metric="log_loss", champion_margin=0.0))
    assert (loss.name, loss.relation) == ("champion", "at most")


def test_other_and_broken_champions_are_not_compared(saved: Saved) -> None:
    for other in (saved("wine"), BundleError("model.onnx is missing")):
        found = report(saved(), Champion("other version 1", other))
        assert found.passed
        assert any("other version 1 is not comparable" in check.detail for check in found.checks)


def test_another_models_twin_fails_parity(saved: Saved) -> None:
    other = saved(C=0.9)
    found = report(saved(twin=(other.folder / "model.onnx").read_bytes()))
    assert [check.name for check in found.failures] == ["parity", "parity on hard rows"]
    for failure in found.failures:
        assert failure.figure
        assert failure.figure > 1e-4
    assert "farthest apart for sepal length (cm)=" in found.failures[1].detail


def test_a_twin_with_swapped_columns_fails_parity_of_labels(saved: Saved) -> None:
    graph = onnx.load(saved().folder / "model.onnx")
    graph.graph.node[-1].output[0] = "unswapped"
    graph.graph.initializer.append(helper.make_tensor("order", TensorProto.INT64, [3], [0, 2, 1]))
    graph.graph.node.append(helper.make_node("Gather", ["unswapped", "order"], ["probabilities"], axis=1))
    found = report(saved(twin=graph.SerializeToString()))
    assert {"parity", "parity of labels"} <= {check.name for check in found.failures}


def test_a_twin_that_mixes_rows_fails(saved: Saved) -> None:
    """The scores of each row depend on the row before it in the batch."""
    graph = onnx.load(saved().folder / "model.onnx")
    graph.graph.node[-1].output[0] = "alone"
    graph.graph.node.append(helper.make_node("CumSum", ["alone", "axis"], ["summed"]))
    graph.graph.initializer.append(helper.make_tensor("axis", TensorProto.INT64, [], [0]))
    graph.graph.node.append(helper.make_node("Softmax", ["summed"], ["probabilities"], axis=1))
    found = report(saved(twin=graph.SerializeToString()))
    assert {"row order", "batch and single"} <= {check.name for check in found.failures}


@pytest.mark.parametrize("data", ["iris", "diabetes"])
def test_noise_that_flips_confident_rows_fails(saved: Saved, data: str) -> None:
    assert only_failure(report(saved(data), data=data, noise=5.0)).name == "noise"


def test_directions_are_checked(saved: Saved) -> None:
    bundle = saved()
    up = Directional(feature=PETAL, step=0.5, label="virginica")
    assert report(bundle, directional=[up]).passed
    failure = only_failure(report(bundle, directional=[structs.replace(up, direction="down")]))
    assert failure.name == f"direction of {PETAL}"
    assert "P(virginica)" in failure.sentence()
    risen = Directional(feature="bmi", step=0.01)
    regressor = saved("diabetes")
    assert report(regressor, data="diabetes", directional=[risen]).passed
    fallen = only_failure(report(regressor, data="diabetes", directional=[structs.replace(risen, direction="down")]))
    assert "progression" in fallen.sentence()


def test_invariances_are_checked(saved: Saved) -> None:
    bundle = saved()
    still = Invariance(feature="sepal width (cm)", step=0.01, tolerance=0.05)
    assert report(bundle, invariance=[still]).passed
    failure = only_failure(report(bundle, invariance=[Invariance(feature=PETAL, step=1, tolerance=0.05)]))
    assert failure.name == f"invariance to {PETAL}"


def test_a_slow_model_fails(saved: Saved) -> None:
    failure = only_failure(report(saved(), latency_ms=1e-6))
    assert failure.name == "latency"
    assert "ms for one row" in failure.sentence()


@pytest.mark.parametrize(
    ("data", "settings", "says"),
    [
        ("iris", GateSettings(thresholds={"acuracy": 1}), "no metric 'acuracy' for classification. Did you mean"),
        ("iris", GateSettings(thresholds={"rmse": 1}), "no metric 'rmse'"),
        ("diabetes", GateSettings(champion_metric="accuracy"), "gate.champion_metric: no metric 'accuracy'"),
        ("iris", GateSettings(invariance=[Invariance(feature="sepal", step=1, tolerance=1)]), "no feature 'sepal'"),
        ("iris", GateSettings(directional=[Directional(feature=PETAL, step=1)]), "must be one of 'setosa'"),
        ("iris", GateSettings(directional=[Directional(feature=PETAL, step=1, label=1)]), "is 1; it must be one of"),
        ("diabetes", GateSettings(directional=[Directional(feature="bmi", step=1, label="x")]), "has no classes"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused(data: str, settings: GateSettings, says: str) -> None:
    with pytest.raises(BadInputError) as caught:
        verify_settings(settings, load_dataset(data))
    assert says in str(caught.value)


def test_per_class_metrics_can_be_thresholds(saved: Saved) -> None:
    verify_settings(GateSettings(thresholds={"recall/setosa": 1.0}), load_dataset("iris"))
    assert report(saved(), thresholds={"recall/setosa": 1.0}).passed

"""Registered models with a baseline of their training data, and rows that were held out."""

from pathlib import Path

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelformat.digest import content_digest
from services.serving.tests.bundles import CLASSES, COLUMNS, write_bundle
from tests.integration.serving_fixtures import Model
from training.baseline import encoded, measure_baseline
from training.kinds import Column

Rows = list[list[float]]


def register_with_baseline(model: Model, folder: Path) -> Rows:
    """Register a model of three quarters of iris as `production`, with its baseline. Return the other quarter."""
    rows, labels = load_iris(return_X_y=True)
    names = [CLASSES[label] for label in labels]
    seen, held_out, truth, _ = train_test_split(rows, names, test_size=0.25, stratify=names, random_state=7)
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(seen, truth)
    write_bundle(folder, estimator=estimator)
    baseline = measure_baseline([Column(name) for name in COLUMNS], seen, estimator.predict_proba(held_out), CLASSES)
    (folder / "baseline.json").write_bytes(encoded(baseline))
    run = model.client.create_run("0")
    model.client.log_artifacts(run.info.run_id, str(folder), "model")
    tags = {"gate": "passed", "digest": content_digest(folder), "release": "v1.0.0"}
    uri = f"{run.info.artifact_uri}/model"
    made = model.client.create_model_version(model.name, uri, run.info.run_id, tags=tags)
    model.move("production", str(made.version))
    kept: Rows = held_out.tolist()
    return kept

"""Proves that a model learns from a log with enough truth, and is compared with the champion on new rows."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from modelformat.logged import FEEDBACK_SUFFIX, Told
from tests.support.prediction_logs import line, write_log
from tests.support.site import site_of
from training.data import load, load_dataset
from training.errors import BadInputError
from training.model_folder import load_settings
from training.settings import OutcomesSettings

Command = Callable[..., Any]
NAME = "blobs"
NOW = datetime.now(UTC)


def log(
    folder: Path, rows: int, *, hours: float = 1.0, shift: float = 0.0, name: str = "a", **more: Any
) -> pd.DataFrame:
    """Return a log of one-row requests, the last one so many hours from now, and the truth of each."""
    random = np.random.default_rng(rows)
    kinds = np.repeat(["left", "right"], rows // 2)
    points = random.normal(np.where(kinds == "left", 0, 6)[:, None] + shift, 1, size=(len(kinds), 2))
    lines, truth = [], []
    for at, (kind, (a, b)) in enumerate(zip(kinds, points.tolist(), strict=True)):
        time = NOW + timedelta(hours=hours, seconds=at - rows)
        moment, request = time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), f"{name}-{at}"
        lines.append(line(request, "left", time=moment, features={"a": a, "b": b}, **more))
        truth.append({"request_id": request, "truth": str(kind)})
    write_log(folder / "log", lines, name)
    return pd.DataFrame(truth)


@pytest.fixture
def folder(tmp_path: Path, blobs: pd.DataFrame) -> Path:
    """The folder of a model that learns from its log, or from a table until there is a log."""
    made = tmp_path / "models" / "points"
    (made / "log").mkdir(parents=True)
    (made / "README.md").write_text("Left and right.")
    blobs.to_csv(made / "points.csv", index=False)
    write(made)
    return made


def write(folder: Path, outcomes: dict[str, Any] | None = None, **more: Any) -> None:
    known = {"truth": ["truth.csv"], "start": "points.csv", "rows": 40, **(outcomes or {})}
    content = {"data": "log", "target": "kind", "name": NAME, "cv": 0, "outcomes": known, **more}
    (folder / "training.yaml").write_text(json.dumps(content))


def test_the_table_is_learnt_from_until_the_log_has_enough(training: Command, folder: Path) -> None:
    first = training("run", "--model-dir", str(folder), "--json").json
    assert first["data"].endswith("points/points.csv")
    assert any("fewer than 40 rows have a truth" in note for note in first["notes"])
    assert training("due", NAME).code == 3
    log(folder, 38).to_csv(folder / "truth.csv", index=False)
    assert training("due", NAME, "--json").json["due"] is False
    few, more = log(folder, 38), log(folder, 26, name="b")
    pd.concat([few, more, few[:3], pd.DataFrame([{"request_id": "?", "truth": "left"}])]).to_csv(
        folder / "truth.csv", index=False
    )
    found = training("due", NAME, "--json").json
    assert found["reason"].endswith(
        "log has 64 rows, and version 1 (v1.0.0) was trained with 60: 64 are newer than the version, and due.rows is "
        "10%."
    )
    second = training("run", "--model-dir", str(folder), "--json").json
    assert second["data"].endswith("points/log")
    params = MlflowClient().get_run(second["run_id"]).data.params
    assert params["rows"] == "64"
    assert params["data_version"].startswith("64 rows, 20")
    assert any("1 of 68 truths were not joined (" in note for note in second["notes"])
    # `evaluate` finds the held-out rows of the run by itself.
    assert training("evaluate", f"{NAME}@candidate", "--json").json["same_data"] is True


def test_a_new_model_is_compared_with_the_champion_on_newer_rows(training: Command, folder: Path) -> None:
    assert training("run", "--model-dir", str(folder)).code == 0
    assert training("promote", NAME).code == 0
    # The old rows are unchanged. The new ones have moved to where the champion gives another answer.
    old, new = log(folder, 200, hours=-1), log(folder, 120, hours=1, shift=-4.0, name="b")
    pd.concat([old, new]).to_csv(folder / "truth.csv", index=False)
    write(folder, model="random-forest", gate={"thresholds": {"log_loss": 1.0}})
    found = training("run", "--model-dir", str(folder), "--json").json
    checks = {check["name"]: check for check in found["gate"]["checks"]}
    newest, whole = checks["champion on the newest rows"], checks["champion"]
    assert newest["passed"], newest
    assert "held-out rows that came after it" in newest["detail"]
    assert newest["bound"] < whole["bound"]
    gate = json.loads(Path(_artifact(found["run_id"], "gate.json")).read_text())
    assert "champion on the newest rows" in [check["name"] for check in gate["checks"]]


def _artifact(run: str, name: str) -> str:
    return str(MlflowClient().download_artifacts(run, name))


def test_by_time_the_newest_rows_are_held_out(folder: Path) -> None:
    truth = log(folder, 60)
    truth.to_csv(folder / "truth.csv", index=False)
    write(folder, split={"time": "logged_at"})
    dataset = load(load_settings({}, folder))
    assert dataset.features == ("a", "b")
    assert dataset.times is not None
    np.testing.assert_allclose(dataset.aside["time"], dataset.times)
    assert dataset.times[0] == pytest.approx((NOW + timedelta(hours=1, seconds=-60)).timestamp(), abs=1)


def test_until_there_is_a_log_rows_are_held_out_at_random(training: Command, folder: Path) -> None:
    write(folder, split={"time": "logged_at"})
    found = training("run", "--model-dir", str(folder), "--json")
    assert found.code == 0, found.err
    assert any("so rows are held out at random until then" in note for note in found.json["notes"])
    assert "split" not in MlflowClient().get_run(found.json["run_id"]).data.params
    assert training("evaluate", f"{NAME}@candidate", "--json").json["same_data"] is True
    assert training("due", "--model-dir", str(folder)).code == 3


def test_only_randomly_sampled_rows_are_learned(folder: Path) -> None:
    chosen, unusual = log(folder, 60), log(folder, 60, name="b", reason="confidence")
    pd.concat([chosen, unusual]).assign(row=0).to_csv(folder / "truth.csv", index=False)
    assert len(load(load_settings({}, folder)).rows) == 60


def test_feedback_of_callers_alone_is_enough_truth(folder: Path) -> None:
    truth = log(folder, 60)
    told = [
        Told(time=NOW.strftime("%Y-%m-%dT%H:%M:%SZ"), request_id=request, row=0, caller=None, truth=kind)
        for request, kind in truth.itertuples(index=False)
    ]
    day = next(path.parent for path in (folder / "log").rglob("*.gz"))
    (day / f"a{FEEDBACK_SUFFIX}").write_bytes(gzip.compress(msgspec.json.Encoder().encode_lines(told)))
    write(folder, {"truth": []})
    dataset = load(load_settings({}, folder))
    assert dataset.truth.tolist() == truth["truth"].tolist()


def test_unusable_logs_are_refused(folder: Path) -> None:
    known = {"truth": [str(folder / "truth.csv")], "start": None}

    def refused(**outcomes: Any) -> str:
        settings = OutcomesSettings(**{**known, **outcomes})
        with pytest.raises(BadInputError) as caught:
            load_dataset(str(folder / "log"), "kind", outcomes=settings)
        return str(caught.value)

    assert "has no files of a prediction log" in refused()
    truth = log(folder, 60)
    truth.to_csv(folder / "truth.csv", index=False)
    assert "60 rows have a truth, but outcomes.rows requires 100. Set outcomes.start to the data" in refused()
    assert "has no column 'id'" in refused(id="id", rows=10)
    assert "'a' is already a column of the log; choose another name" in _with_target(folder, known, "a")
    assert "target: name the column to predict" in _with_target(folder, known, None)


def _with_target(folder: Path, known: dict[str, Any], target: str | None) -> str:
    with pytest.raises(BadInputError) as caught:
        load_dataset(str(folder / "log"), target, outcomes=OutcomesSettings(**{**known, "rows": 10}))
    return str(caught.value)


def test_the_signature_of_an_address_of_truth_is_recorded_nowhere(training: Command, folder: Path) -> None:
    log(folder, 60).to_csv(folder / "truth.csv", index=False)
    with site_of(folder) as site:
        write(folder, {"truth": [f"{site}/truth.csv?signature=hidden"]})
        found = training("run", "--model-dir", str(folder), "--json")
    assert found.code == 0, found.err
    assert found.json["data"].endswith("points/log")
    params = MlflowClient().get_run(found.json["run_id"]).data.params
    assert json.loads(params["outcomes"])["truth"] == [f"{site}/truth.csv"]
    assert "hidden" not in str(params)


def test_whole_numbers_with_gaps_stay_whole(tmp_path: Path) -> None:
    """Otherwise the new version would have another signature, and could not be compared with the champion."""
    lines = [line(str(at), "left", features={"a": None if at == 3 else at % 7, "b": at % 2 == 0}) for at in range(40)]
    write_log(tmp_path / "log", lines)
    truth = pd.DataFrame({"request_id": [str(at) for at in range(40)], "truth": ["left", "right"] * 20})
    truth.to_csv(tmp_path / "truth.csv", index=False)
    known = OutcomesSettings(truth=[str(tmp_path / "truth.csv")], rows=40)
    found = load_dataset(str(tmp_path / "log"), "kind", outcomes=known)
    assert [(column.name, column.kind, column.optional) for column in found.columns] == [
        ("a", "integer", True), ("b", "boolean", False),
    ]  # fmt: skip

"""Proves that the model card says what was measured, and that checks say `warning` where they only warn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from mlflow import MlflowClient
from sklearn.svm import SVC

Training = Callable[..., Any]
ROOT = Path(__file__).parents[2]


def card_of(outcome: Any, tmp_path: Path) -> str:
    path = MlflowClient().download_artifacts(outcome.json["run_id"], "card.md", str(tmp_path))
    return Path(path).read_text(encoding="utf-8")


def table(card: str, head: str) -> dict[str, list[str]]:
    """Return the rows of the table that begins with a line, by their first cell."""
    lines = card.partition(head)[2].strip().splitlines()[1:]
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines[: [*lines, ""].index("")]]
    return {row[0]: row[1:] for row in cells}


def test_the_card_quotes_the_owner_and_says_what_was_measured(training: Training, tmp_path: Path) -> None:
    outcome = training("run", "--model-dir", str(ROOT / "models" / "penguins"), "--json")
    assert outcome.code == 0, outcome.err
    card = card_of(outcome, tmp_path)
    assert card.startswith("# penguins-classifier v1.0.0\n")
    page = (ROOT / "models" / "penguins" / "README.md").read_text(encoding="utf-8")
    assert f"> {page.strip().splitlines()[-1]}\n" in card
    assert table(card, "| column | kind | may be missing | values |")["sex"] == ["category", "yes", "'female', 'male'"]
    assert table(card, "| class | rows | precision | recall | f1 |")["Gentoo"][0] == "31"
    importance = table(card, "| column | worse by |")
    assert next(iter(importance)) == "bill_length_mm"
    contributions = table(card, "| column | moves the answer by |")
    assert set(contributions) == set(importance)
    assert next(iter(contributions)) == "bill_length_mm"
    moved = [float(value) for (value,) in contributions.values()]
    assert moved == sorted(moved, reverse=True)
    picture = MlflowClient().download_artifacts(outcome.json["run_id"], "plots/contributions.png", str(tmp_path))
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
    assert "values that the table does not have are refused" in card
    version = MlflowClient().get_model_version("penguins-classifier", "1")
    assert "card.md" in str(version.description)


def test_a_regression_has_a_card_of_its_own(training: Training, tmp_path: Path) -> None:
    outcome = training("run", "--data", "diabetes", "--json")
    card = card_of(outcome, tmp_path)
    assert "## Errors" in card
    assert "moves the predicted number from the mean answer, on average over held-out rows" in card
    assert "## Calibration" not in card
    assert "Nobody has written down what it must not be used for" in card


def test_slices_and_warnings_are_named(training: Training, tmp_path: Path, blobs: pd.DataFrame) -> None:
    # Half of the rows occur twice, a column is constant, and names contain what separates cells in Markdown.
    frame = blobs.assign(same=1.0, on=blobs["a"] > 0)
    frame["a|b"] = np.resize(["x|y", "z"], len(blobs))
    twice = pd.concat([frame, frame[::2]])[["a", "b", "a|b", "same", "on", "kind"]]
    twice.to_parquet(tmp_path / "twice.parquet", index=False)
    arguments = ["run", "--data", "twice.parquet", "--target", "kind", "--json"]
    outcome = training(*arguments)
    assert outcome.code == 0, outcome.err
    verdicts = {check["name"]: check["warning"] for check in outcome.json["gate"]["checks"]}
    assert (verdicts["columns"], verdicts["duplicates"], verdicts["accuracy"]) == (True, True, False)
    card = card_of(outcome, tmp_path)
    assert "| a\\|b | x\\|y |" in card
    assert "| on | true |" in card
    assert "| duplicates |  |  | warning |" in card

    (tmp_path / "training.yaml").write_text(
        "data: twice.parquet\nname: twice\ntarget: kind\ngate: {duplicates: refuse}\n"
    )
    refused = training("run", "--model-dir", str(tmp_path))
    assert refused.code == 2
    assert "gate: duplicates:" in refused.err


def test_a_registered_model_has_a_card_too(training: Training, tmp_path: Path, blobs: pd.DataFrame) -> None:
    blobs.to_csv(tmp_path / "rows.csv", index=False)
    skops.io.dump(SVC().fit(blobs[["a", "b"]], blobs["kind"]), tmp_path / "model.skops")
    outcome = training("register", "model.skops", "--data", "rows.csv", "--target", "kind", "--name", "given", "--json")
    assert outcome.code == 0, outcome.err
    card = card_of(outcome, tmp_path)
    assert card.startswith("# given v1.0.0\n")
    assert "## Figures on rows of the table, which it may have learned from" in card
    assert table(card, "| class | rows | precision | recall | f1 |")["left"][0] == "30"
    assert set(table(card, "| column | worse by |")) == {"a", "b"}
    assert "moves the probability of the answered label from the mean answer" in card
    assert "on average over rows of" in card
    assert set(table(card, "| column | moves the answer by |")) == {"a", "b"}
    assert "The model predicts classes without probabilities." in card
    version = MlflowClient().get_model_version("given", "1")
    run = MlflowClient().get_run(outcome.json["run_id"]).info
    link = f"[card.md](#/experiments/{run.experiment_id}/runs/{run.run_id}/artifacts/card.md)"
    assert link in str(version.description)

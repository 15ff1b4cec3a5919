"""Proves that a model is due for the documented reasons only, and that an outage does not count as not due."""

import http.server
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from training.due.changes import changed, commits_since, fingerprint
from training.due.examination import Asked, examine
from training.due.settings import DueSettings
from training.due.verdict import Finding, Verdict, reason_of
from training.errors import OutageError
from training.model_folder import load_settings

Command = Callable[..., Any]
NAME = "blobs"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, blobs: Any) -> Path:
    """A model as code, with its table."""
    made = tmp_path / "models" / "points"
    made.mkdir(parents=True)
    blobs.to_csv(made / "points.csv", index=False)
    (made / "README.md").write_text("Left and right.")
    write(made)
    return made


def write(folder: Path, **more: object) -> None:
    content = {"data": "points.csv", "target": "kind", "name": NAME, "cv": 0, **more}
    (folder / "training.yaml").write_text(json.dumps(content))


@pytest.fixture
def once(training: Command, folder: Path) -> Any:
    """The model, trained once by hand."""
    outcome = training("run", "--model-dir", str(folder), "--json")
    assert outcome.code == 0, outcome.err
    return outcome.json


class Prometheus:
    """A stand-in for Prometheus' API, which gives the answers that a test sets."""

    def __init__(self) -> None:
        self.body: bytes = b""
        self.status = 200
        self.asked: list[str] = []
        told = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                told.asked.append(self.path)
                self.send_response(told.status)
                self.send_header("Content-Length", str(len(told.body)))
                self.end_headers()
                self.wfile.write(told.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.fires()

    def fires(self, *alerts: dict[str, Any]) -> None:
        self.body = json.dumps({"status": "success", "data": {"alerts": alerts}}).encode()


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    told = Prometheus()
    threading.Thread(target=told.server.serve_forever, daemon=True).start()
    yield told
    told.server.shutdown()
    told.server.server_close()


def alert(name: str, hours_ago: float, state: str = "firing", **labels: str) -> dict[str, Any]:
    since = datetime.now(UTC) - timedelta(hours=hours_ago)
    return {
        "labels": {"alertname": name, "model_name": NAME, "namespace": "there", **labels},
        "annotations": {"summary": f"{name} is what it is"},
        "state": state,
        "activeAt": since.isoformat().replace("+00:00", "000Z"),
    }


def answers(found: Any) -> dict[str, str]:
    return {finding["question"]: finding["answer"] for finding in found["findings"]}


def test_a_model_without_a_version_is_due(training: Command, folder: Path) -> None:
    outcome = training("due", NAME, "--json")
    assert outcome.code == 0
    assert outcome.json["reason"] == "No version of blobs has passed the gate yet."
    assert (outcome.json["version"], outcome.json["folder"]) == (None, "models/points")


@pytest.mark.usefixtures("once")
def test_a_new_version_is_not_due_and_every_name_of_it_is_understood(
    training: Command, tmp_path: Path, prometheus: Prometheus
) -> None:
    (tmp_path / "platform.yaml").write_text("services: [{name: sorting, model: blobs}, {name: away, model: other}]\n")
    for subject in (["points"], [NAME], ["sorting"], ["--model-dir", "models/points"]):
        outcome = training("due", *subject, "--prometheus", prometheus.url, "--json")
        assert outcome.code == 3, outcome.err
        assert answers(outcome.json) == dict.fromkeys(("age", "alerts", "data", "settings"), "not due")
        assert (outcome.json["due"], outcome.json["reason"], outcome.json["version"]) == (False, "", "1")
    said = training("due", NAME)
    assert said.code == 3
    assert "blobs needs no training." in said.out
    assert "No Prometheus was named" in " ".join(said.out.split())
    for subject, sentence in (
        ([], "name a service or a model, or its folder with --model-dir"),
        ([NAME, "--model-dir", "models/points"], "but not both"),
        (["sort"], "'sort' is neither a service of platform.yaml nor a model of models. Did you mean \"sorting\"?"),
        (["away"], "the service 'away' serves other, but no folder of models registers it"),
    ):
        refused = training("due", *subject)
        assert refused.code == 2
        assert sentence in refused.err


@pytest.mark.usefixtures("once")
def test_a_name_of_two_models_is_refused(training: Command, tmp_path: Path, folder: Path) -> None:
    other = tmp_path / "models" / NAME
    other.mkdir()
    (other / "README.md").write_text("Another one.")
    write(other, name="else")
    refused = training("due", NAME)
    assert refused.code == 2
    assert "'blobs' means several models: else (models/blobs), blobs (models/points)" in refused.err


def test_mistakes_of_other_models_are_only_reported(training: Command, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "models" / "other").mkdir()
    outcome = training("due", NAME, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["folder"] == "models/points"
    assert "note     models/other/README.md: missing or empty" in outcome.err
    refused = training("due", "other")
    assert refused.code == 2
    assert "error: models/other/README.md: missing or empty" in refused.err


@pytest.mark.usefixtures("once")
def test_age_is_a_reason(folder: Path) -> None:
    def verdict(days: float) -> Verdict:
        return examine(folder, load_settings({}, folder), Asked(), now=datetime.now(UTC) + timedelta(days=days))

    assert not verdict(29.9).due
    assert verdict(30.1).reason == "Version 1 (v1.0.0) is 30.1 days old, and due.days is 30."
    write(folder, due={"days": None})
    assert not verdict(3000).due
    write(folder, due={"days": 0.5})
    assert verdict(1).due


@pytest.mark.usefixtures("once")
def test_new_rows_are_a_reason(training: Command, folder: Path, blobs_of: Command) -> None:
    def due(each: int, /, **settings: object) -> Any:
        blobs_of(["left", "right"], each).to_csv(folder / "points.csv", index=False)
        write(folder, due=settings)
        return training("due", NAME, "--json").json

    assert not due(32)["due"]
    found = due(33)
    assert found["reason"] == (
        "models/points/points.csv has 66 rows, and version 1 (v1.0.0) was trained with 60: +10%, and due.rows is 10%."
    )
    assert due(31, rows=0)["reason"].endswith("its content has changed.")
    assert not due(200, rows=None)["due"]
    assert not due(30, rows=0)["due"]


@pytest.mark.usefixtures("once")
def test_changed_settings_and_code_are_a_reason_and_comments_are_not(training: Command, folder: Path) -> None:
    text = (folder / "training.yaml").read_text()
    (folder / "training.yaml").write_text(f"# why\n{text}")
    assert training("due", NAME).code == 3
    write(folder, seed=7, params={"C": 0.5}, schedule={"cron": "@daily"}, due={"days": 3})
    assert training("due", NAME, "--json").json["reason"] == "params, seed changed since version 1 (v1.0.0)."
    write(folder, due={"settings": False}, seed=7)
    assert training("due", NAME).code == 3
    write(folder)
    (folder / "pipeline.py").write_text("def build(columns): ...\n")
    assert "pipeline.py changed since version 1" in training("due", NAME, "--json").json["reason"]


def test_git_shows_changes_if_an_older_version_has_no_fingerprint(training: Command, folder: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@b.c", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", str(folder.parents[1]))
    git("add", "training.yaml")
    git("commit", "-qm", "Add the model")
    outcome = training("run", "--model-dir", str(folder), "--json")
    MlflowClient().delete_model_version_tag(NAME, "1", "settings")
    assert answers(training("due", NAME, "--json").json)["settings"] == "not due"
    write(folder, seed=7)
    git("commit", "-qam", "Seed it otherwise")
    found = training("due", NAME, "--json").json
    assert found["reason"].startswith("models/points changed in git since version 1 (v1.0.0) (")
    assert found["reason"].endswith(" Seed it otherwise).")
    assert commits_since(folder, "0" * 40) is None
    assert commits_since(folder, None) is None
    mlflow.MlflowClient().set_tag(outcome.json["run_id"], "mlflow.source.git.commit", "--output=x")
    assert answers(training("due", NAME, "--json").json)["settings"] == "not asked"


def test_a_fingerprint_names_what_differs(folder: Path) -> None:
    before = fingerprint(folder)
    write(folder, gate={"latency_ms": 9}, seed=1)
    assert changed(before, fingerprint(folder)) == ["gate", "seed"]
    assert changed({"a": "1"}, {}) == ["a"]


@pytest.mark.usefixtures("once")
def test_alerts_of_the_model_are_a_reason(training: Command, folder: Path, prometheus: Prometheus) -> None:
    def due(*alerts: dict[str, Any], more: tuple[str, ...] = ()) -> Any:
        prometheus.fires(*alerts)
        return training("due", NAME, "--prometheus", prometheus.url, "--json", *more).json

    now = -0.01  # after the version was trained
    assert not due(alert("ModelInputDrift", now, state="pending"))["due"]
    assert not due(alert("ModelInputDrift", now, model_name="other"), alert("Else", now))["due"]
    assert not due(alert("ModelInputDrift", now), more=("--alert-label", "namespace=here"))["due"]
    found = due(alert("ModelInputDrift", now, feature="a"), alert("ModelQualityBelowGate", now), more=())
    first, second = found["reason"].split(" UTC: ")[0], found["reason"].split(". ")[1]
    assert first.startswith("ModelQualityBelowGate since 20")
    assert second.startswith("ModelInputDrift since 20")
    assert due(alert("ModelInputDrift", now), more=("--alert-label", "namespace=there"))["due"]
    assert prometheus.asked[-1] == "/api/v1/alerts"
    write(folder, due={"alerts": ["Else"]})
    assert due(alert("Else", now))["due"]
    write(folder, due={"alerts": []})
    assert answers(due(alert("Else", now)))["alerts"] == "not asked"


@pytest.mark.usefixtures("once")
def test_an_alert_from_before_the_newest_version_is_no_reason(folder: Path, prometheus: Prometheus) -> None:
    prometheus.fires(alert("ModelInputDrift", hours_ago=3))

    def verdict(days: float) -> Verdict:
        asked, now = Asked(prometheus=prometheus.url), datetime.now(UTC) + timedelta(days=days)
        return examine(folder, load_settings({}, folder), asked, now=now)

    waits = {finding.question: finding for finding in verdict(0.9).findings}["alerts"]
    assert waits.answer == "not due"
    assert "fired before version 1 (v1.0.0) was trained" in waits.says
    assert verdict(1.1).due


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (200, b"<html>", "is not Prometheus (200): check its address."),
        (500, b"", "is not Prometheus (500): check its address."),
        (400, b'{"status":"error","error":"no"}', "refuses the query: no."),
    ],
)
def test_an_unusable_prometheus_does_not_mean_not_due(
    training: Command, prometheus: Prometheus, status: int, body: bytes, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.due.alerts._PAUSES", (0.01, 0.01))
    prometheus.status, prometheus.body = status, body
    outcome = training("due", NAME, "--prometheus", prometheus.url, "--json")
    assert outcome.code == 1
    assert says in outcome.err
    assert answers(outcome.json)["alerts"] == "unknown"
    assert len(prometheus.asked) == 3


@pytest.mark.usefixtures("once")
def test_a_prometheus_that_is_down_or_hangs_ends_in_time(
    training: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.due.alerts._PAUSES", (0.01,))
    monkeypatch.setattr("training.due.alerts.READ_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        hangs = training("due", NAME, "--prometheus", url)
        assert time.monotonic() - began < 20
    away = training("due", NAME, "--prometheus", url)
    assert (hangs.code, away.code) == (1, 1)
    assert "does not answer (ReadTimeout)" in hangs.err
    assert "does not answer (ConnectionError)" in away.err
    assert "is not known" in away.out
    # With another reason, its answer is not needed.
    write(folder, seed=7)
    outcome = training("due", NAME, "--prometheus", url, "--json")
    assert outcome.code == 0
    assert outcome.json["reason"].startswith("seed changed")
    assert "does not answer" in outcome.err
    for wrong in ("ftp://x", "prometheus:9090", "http://me:secret@x"):
        refused = training("due", NAME, "--prometheus", wrong)
        assert refused.code == 2
        assert "--prometheus: " in refused.err
        assert "secret" not in refused.err


@pytest.mark.usefixtures("once")
def test_a_store_that_is_down_does_not_mean_not_due(training: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: object) -> object:
        raise OutageError("s3://tables/points.csv: the store does not answer (timed out).")

    monkeypatch.setattr("training.due.examination.load", away)
    outcome = training("due", NAME, "--json")
    assert outcome.code == 1
    assert answers(outcome.json)["data"] == "unknown"
    assert "the store does not answer" in outcome.err


def test_an_mlflow_that_is_down_does_not_mean_not_due(training: Command, folder: Path) -> None:
    outcome = training("due", NAME, "--tracking-uri", "http://127.0.0.1:1")
    assert outcome.code == 1
    assert "cannot be reached" in outcome.err
    assert training("run", "--if-due", "--model-dir", str(folder), "--tracking-uri", "http://127.0.0.1:1").code == 1


def test_a_run_checks_first_and_records_the_reason(training: Command, folder: Path, blobs_of: Command) -> None:
    first = training("run", "--if-due", "--model-dir", str(folder), "--json")
    assert first.code == 0, first.err
    version = MlflowClient().get_model_version(NAME, first.json["version"])
    assert version.tags["reason"] == "No version of blobs has passed the gate yet."
    assert MlflowClient().get_run(first.json["run_id"]).data.tags["reason"] == version.tags["reason"]
    again = training("run", "--if-due", "--model-dir", str(folder))
    assert again.code == 0
    assert "no reason to train" in again.err
    assert "blobs needs no training." in again.out
    blobs_of(["left", "right"], 60).to_csv(folder / "points.csv", index=False)
    assert training("run", "--if-due", "--model-dir", str(folder), "--json").json["version"] == "2"
    assert "has 120 rows" in MlflowClient().get_model_version(NAME, "2").tags["reason"]
    unknown = training("run", "--if-due", "--model-dir", str(folder), "--prometheus", "http://127.0.0.1:1")
    assert unknown.code == 1
    assert len(MlflowClient().search_model_versions(f"name='{NAME}'")) == 2
    by_hand = training("run", "--model-dir", str(folder), "--reason", "The label was mended.", "--json")
    assert MlflowClient().get_model_version(NAME, by_hand.json["version"]).tags["reason"] == "The label was mended."
    refused = training("run", "--if-due")
    assert refused.code == 2
    assert "--if-due: name the model's folder" in refused.err


def test_the_default_alerts_exist_in_the_chart() -> None:
    rules = [path.read_text() for path in (ROOT / "charts" / "observability" / "rules").glob("*.yaml")]
    for name in DueSettings().alerts:
        assert any(f"- alert: {name}\n" in text for text in rules), name


def test_a_reason_is_one_line_of_bounded_length() -> None:
    findings = (Finding("data", "due", "a\nb " + 600 * "x"), Finding("age", "not due", "never"))
    assert len(reason_of(findings)) == 500
    assert reason_of(findings).startswith("a b xxx")
    assert reason_of(findings[1:]) == ""

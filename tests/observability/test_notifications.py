"""Triggers, templates and services of Argo CD's notifications fit together, and the messages are right.

Helm renders the templates here, because it has the same template language and functions as Argo CD.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observability.content import ROOT
from tests.support import helm

FILE = ROOT / "argocd" / "patches" / "argocd-notifications-cm.yaml"

DEPLOYED: dict[str, Any] = {
    "metadata": {"name": "iris-production"},
    "spec": {
        "info": [
            {"name": "model", "value": "iris-classifier 8"},
            {"name": "chart", "value": "1.4.0"},
            {"name": "environment", "value": "production"},
            {"name": "service", "value": "iris"},
            {"name": "repository", "value": "somebody/pipeline"},
        ]
    },
    "status": {
        "health": {"status": "Healthy"},
        "summary": {"images": ["ghcr.io/somebody/serving:1.8.2@sha256:00"]},
        "operationState": {"phase": "Succeeded", "syncResult": {"revisions": ["1.4.0", "0123abc"]}},
    },
}
FAILED: dict[str, Any] = {
    "metadata": {"name": "minio"},
    "spec": {},
    "status": {
        "health": {"status": "Degraded"},
        "resources": [
            {"kind": "Service", "name": "minio", "health": {"status": "Healthy"}},
            {"kind": "ConfigMap", "name": "minio-provision"},
            {"kind": "StatefulSet", "name": "minio", "health": {"status": "Degraded", "message": 'no "volume"'}},
        ],
        "operationState": {"phase": "Failed", "message": 'field "spec.size"\nis immutable'},
    },
}


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    """Return services, triggers and templates by kind and name, each parsed from its text."""
    data = yaml.safe_load(FILE.read_text(encoding="utf-8"))["data"]
    return {key: yaml.safe_load(text) for key, text in data.items()}


def names(settings: dict[str, Any], kind: str) -> set[str]:
    return {key.removeprefix(f"{kind}.") for key in settings if key.startswith(f"{kind}.")}


def sent(settings: dict[str, Any], template: str, service: str, application: dict[str, Any], folder: Path) -> Any:
    """Return the JSON body of a webhook about an application."""
    return json.loads(written(settings[f"template.{template}"]["webhook"][service]["body"], application, folder))


def written(template: str, application: dict[str, Any], folder: Path) -> str:
    """Render a template for an application."""
    chart = folder / "chart"
    (chart / "templates").mkdir(parents=True, exist_ok=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: notification, version: 1.0.0}", encoding="utf-8")
    (chart / "values.yaml").write_text(json.dumps({"app": application}), encoding="utf-8")
    text = "{{ with .Values }}" + template + "{{ end }}"
    (chart / "templates" / "body.yaml").write_text(text, encoding="utf-8")
    outcome = helm.run("helm", "template", "one", chart)
    assert outcome.code == 0, outcome.errors
    return re.sub(r"^(---|# Source: .*)$", "", outcome.output, flags=re.MULTILINE).strip()


def test_triggers_use_existing_templates_and_services(settings: dict[str, Any]) -> None:
    services = {name.rpartition(".")[2] for name in names(settings, "service")}
    used = {
        template
        for name in names(settings, "trigger")
        for each in settings[f"trigger.{name}"]
        for template in each["send"]
    }
    assert names(settings, "trigger") == {"on-deployed", "on-sync-failed", "on-degraded"}
    assert used == names(settings, "template")
    for template in used:
        webhooks = settings[f"template.{template}"]["webhook"]
        assert "people" in webhooks
        assert set(webhooks) <= services
        assert {webhook["method"] for webhook in webhooks.values()} == {"POST"}


def test_settings_contain_no_secrets(settings: dict[str, Any]) -> None:
    assert set(
        re.findall(r"\$[\w-]+", json.dumps([settings[f"service.{name}"] for name in names(settings, "service")]))
    ) == {
        "$webhook-url",
        "$github-token",
    }


def test_people_are_told_about_a_deployment_with_its_pins(settings: dict[str, Any], tmp_path: Path) -> None:
    assert sent(settings, "deployed", "people", DEPLOYED, tmp_path) == {
        "text": "iris-production is deployed and healthy, model iris-classifier 8, chart 1.4.0, environment "
        "production, service iris\nghcr.io/somebody/serving:1.8.2@sha256:00"
    }


def test_people_are_told_about_a_deployment_without_pins(settings: dict[str, Any], tmp_path: Path) -> None:
    plain = {"metadata": {"name": "minio"}, "spec": {}, "status": {"operationState": {"syncResult": {}}}}
    assert sent(settings, "deployed", "people", plain, tmp_path) == {"text": "minio is deployed and healthy"}


def test_the_promotion_is_started_in_the_repository_of_the_application(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    path = settings["template.deployed"]["webhook"]["github"]["path"]
    assert written(f"path: {path}", DEPLOYED, tmp_path) == "path: /repos/somebody/pipeline/dispatches"


def test_the_promotion_gets_the_service_and_its_pins(settings: dict[str, Any], tmp_path: Path) -> None:
    assert sent(settings, "deployed", "github", DEPLOYED, tmp_path) == {
        "event_type": "deployed",
        "client_payload": {
            "environment": "production",
            "service": "iris",
            "revisions": ["1.4.0", "0123abc"],
            "pins": {"model": "iris-classifier 8", "chart": "1.4.0"},
        },
    }


def test_people_are_told_why_a_sync_failed(settings: dict[str, Any], tmp_path: Path) -> None:
    assert sent(settings, "sync-failed", "people", FAILED, tmp_path) == {
        "text": 'minio cannot be synced\nfield "spec.size"\nis immutable'
    }


def test_people_are_told_what_is_degraded(settings: dict[str, Any], tmp_path: Path) -> None:
    assert sent(settings, "degraded", "people", FAILED, tmp_path) == {
        "text": 'minio is degraded\nStatefulSet/minio: no "volume"'
    }

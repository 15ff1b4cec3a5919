"""Proves that the expansion of ApplicationSets fills in what the controller would, and refuses what it would refuse."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitops.rendering.applications import applications
from tests.gitops import expansion
from tests.gitops.stack import Stack


def application_set(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {"name": "web", "namespace": "argocd"},
        "spec": {
            "goTemplate": True,
            "goTemplateOptions": ["missingkey=error"],
            "generators": [{"git": {"files": [{"path": "envs/*/release.yaml"}]}}],
            "template": {"metadata": {"name": name}, "spec": {}},
            **spec,
        },
    }


def released(tree: Path, environment: str, **content: Any) -> None:
    folder = tree / "envs" / environment
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "release.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def test_makes_one_application_a_file(tmp_path: Path) -> None:
    released(tmp_path, "staging", release={"chart": "1.5.0"})
    released(tmp_path, "production", release={"chart": "1.4.0"})
    (tmp_path / "envs" / "platform").mkdir()
    names = [
        made["metadata"]["name"]
        for made in expansion.expand(application_set("web-{{ .path.basename }}-{{.release.chart}}"), tmp_path)
    ]
    assert names == ["web-production-1.4.0", "web-staging-1.5.0"]


def test_makes_none_before_the_first_release(tmp_path: Path) -> None:
    (tmp_path / "envs" / "staging").mkdir(parents=True)
    assert list(expansion.expand(application_set("web"), tmp_path)) == []


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{{ .release.version }}", "names .release.version, and envs/staging has no version"),
        ("{{ .release.chart.major }}", "has no major"),
        ("{{ .release.chart | upper }}", "is more than the name of a value"),
        ("{{ if .release }}web{{ end }}", "is more than the name of a value"),
    ],
)
def test_refuses(template: str, sentence: str, tmp_path: Path) -> None:
    released(tmp_path, "staging", release={"chart": "1.5.0"})
    with pytest.raises(ValueError, match=re.escape(sentence)):
        list(expansion.expand(application_set(template), tmp_path))


def test_refuses_a_lenient_template(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="missingkey=error"):
        list(expansion.expand(application_set("web", goTemplateOptions=[]), tmp_path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(text=st.text(st.characters(exclude_characters="{}", codec="utf-8")))
def test_leaves_other_text_alone(text: str, tmp_path: Path) -> None:
    released(tmp_path, "staging", release={"chart": "1.5.0"})
    (made,) = expansion.expand(application_set(text + "{{ .release.chart }}" + text), tmp_path)
    assert made["metadata"]["name"] == f"{text}1.5.0{text}"


def test_agrees_with_what_the_gitops_command_renders(tree: Path, everything: Stack) -> None:
    """Two readings of the same files, made apart: neither may see what the other does not."""
    expected = {
        app.name: (app.namespace, [(s["repoURL"], str(s["targetRevision"]), s.get("path", "")) for s in app.sources])
        for app in everything.apps
        if app.name != "root"
    }
    found = {
        app.name: (app.namespace, [(s.repo_url, s.target_revision, s.path) for s in app.sources])
        for app in applications(tree)
    }
    assert found == expected

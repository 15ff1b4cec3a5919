"""Bad releases to production: the old pods keep serving, the cause is named, and a revert fixes it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.argocd.pipeline import Pipeline, described, settled
from tests.e2e.argocd.places import PRODUCTION
from tests.e2e.report import Report

NOBODYS = f"sha256:{'0' * 64}"


def _image(release: dict[str, Any]) -> None:
    release["image"]["digest"] = NOBODYS


def _model(release: dict[str, Any]) -> None:
    release["model"]["digest"] = NOBODYS


def _schema(release: dict[str, Any]) -> None:
    release["model"]["verison"] = "1"


def _degraded(app: dict[str, Any]) -> bool:
    return bool(app["status"].get("health", {}).get("status") == "Degraded")


def _not_rendered(app: dict[str, Any]) -> bool:
    return any(entry["type"] == "ComparisonError" for entry in app["status"].get("conditions", []))


@pytest.mark.parametrize(
    ("change", "shows", "cause"),
    [
        pytest.param(_image, _degraded, NOBODYS, id="an image that is not there"),
        pytest.param(_model, _degraded, "digest", id="a model of another digest"),
        pytest.param(_schema, _not_rendered, "verison", id="values that the schema refuses"),
    ],
)
def test_a_bad_release_leaves_the_old_pods_serving_and_names_its_cause(
    pipeline: Pipeline,
    report: Report,
    change: Callable[[dict[str, Any]], None],
    shows: Callable[[dict[str, Any]], bool],
    cause: str,
) -> None:
    version, pods = pipeline.pins(PRODUCTION)["model"]["version"], pipeline.ready_names(PRODUCTION)
    with pipeline.load(PRODUCTION) as results:
        pipeline.fork.edit(PRODUCTION.release, change)
        bad = pipeline.fork.commit("A bad release")
        pipeline.look_at_git()
        app = pipeline.wait_application(PRODUCTION.application, shows, 180)
        told = "\n".join([described(app), *_words_of_new_pods(pipeline, pods)])
        assert cause in told, told
        assert pods <= pipeline.ready_names(PRODUCTION)
        pipeline.fork.git("revert", "--no-edit", bad)
        pipeline.follow(pipeline.fork.push(), PRODUCTION)
    assert settled(pipeline.application(PRODUCTION.application))
    assert set(results[0].versions) == {version}
    report.add("Requests", f"- bad release ({change.__name__.strip('_')}) and its revert: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def test_people_were_told(pipeline: Pipeline, report: Report) -> None:
    told = pipeline.chat.wait_for(f"{PRODUCTION.application} is degraded", f"Deployment/{PRODUCTION.name}")
    report.add("What people were told", f"- {' '.join(told.split())}")


def _words_of_new_pods(pipeline: Pipeline, old: set[str]) -> list[str]:
    """Return the messages of the new release's pods, and the cluster's events about them."""
    names = [pod["metadata"]["name"] for pod in pipeline.serving_pods(PRODUCTION)]
    new = [name for name in names if name not in old]
    events = [event for event in pipeline.kube.events(PRODUCTION.namespace) if any(name in event for name in new)]
    return [*events, *(pipeline.kube.logs(PRODUCTION.namespace, name, lines=20) for name in new)]

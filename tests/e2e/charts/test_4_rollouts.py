"""Changes of models and pods without a failed request.

Pods that follow an alias change models without a restart, pods serve several models, may be deleted one by one, and
their number follows the load.
"""

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from tests.e2e.charts.stack import MODEL, Stack, told
from tests.e2e.charts.tables import MODEL as MIXED
from tests.e2e.charts.tables import tables
from tests.e2e.kube import together
from tests.e2e.pods import running
from tests.e2e.report import Report

pytestmark = pytest.mark.timeout(400)


def test_an_upgrade_under_load_drops_nothing(stack: Stack, report: Report) -> None:
    before = _names(stack)
    release = stack.serving_release(
        stack.registry().version("2").pins, {"podAnnotations": {"example.org/change": "pods"}}
    )

    with running(stack.runner, stack.load(rate=80)) as load:
        stack.helm.install(release)
        stack.kube.wait(
            "old pods leave",
            lambda: not before & _names(stack),
            seconds=90,
            namespace=stack.serving,
            names=("serving",),
        )

    report.add("Requests during an upgrade", told(load))
    assert load["dropped"] == 0, load["errors"]
    assert load["rate"] >= 50
    assert set(load["versions"]) == {"1", "2"}


def test_followers_change_models_with_the_alias(stack: Stack) -> None:
    """Pods that follow `staging` serve version 1 until the smoke test has seen version 2 and moves the alias."""
    values = {"autoscaling": {"enabled": False}, "smoke": {"enabled": False}, "settings": {"modelPollSeconds": 1}}
    follower = stack.serving_release({"name": MODEL, "stage": "staging"}, values, name="serving-follower")
    stack.helm.install(follower)
    pods = {pod["metadata"]["uid"] for pod in stack.serving_pods(follower.name)}
    assert stack.predict(follower.name)["info"]["version"] == "1"

    stack.helm.test(stack.serving_release(stack.registry().version("2").pins))

    stack.kube.wait(
        "the follower serves version 2",
        lambda: stack.predict(follower.name)["info"]["version"] == "2",
        seconds=120, namespace=stack.serving, names=(follower.name,),
    )  # fmt: skip
    assert {pod["metadata"]["uid"] for pod in stack.serving_pods(follower.name)} == pods
    stack.helm.uninstall(follower)


def test_pods_serve_a_further_model(stack: Stack) -> None:
    """Another training release registers wine, and the pods of one serving release answer for both iris and wine."""
    wine = "wine-classifier"
    training = stack.training_release("wine")
    stack.helm.install(training)
    stack.kube.run_cronjob(stack.platform, training.name, "train-wine", seconds=300)
    values = {
        "autoscaling": {"enabled": False},
        "smoke": {"enabled": False},
        "extraModels": [{"name": wine, "stage": "candidate"}],
    }
    several = stack.serving_release(stack.registry().version("2").pins, values, name="serving-several")
    stack.helm.install(several)

    answer = stack.predict(several.name, [wine])

    assert answer["prediction"]["model_version"] == "2"
    assert answer["prediction"]["prediction"] == "setosa"
    assert (answer["further"][wine]["model_name"], answer["further"][wine]["model_version"]) == (wine, "v1.0.0")
    assert answer["further"][wine]["outputs"][0]["name"] == "prediction"
    stack.helm.uninstall(several)
    stack.helm.uninstall(training)


def test_cronjobs_train_from_the_store_and_from_the_database(stack: Stack, report: Report) -> None:
    """The same table with text and missing values. Each place needs its own keys and egress rules."""
    with tables(stack) as places:
        releases = [stack.training_release(MIXED, place.changes, name=f"training-{place.name}") for place in places]
        for release in releases:
            stack.helm.install(release)
        together(
            *(
                lambda place=place: stack.kube.run_cronjob(
                    stack.platform, f"training-{place.name}", f"train-{place.name}", seconds=300
                )
                for place in places
            )
        )
    versions = {version.name: version for version in stack.registry().versions}
    found = [versions[place.name] for place in places]
    assert [version.tags["gate"] for version in found] == ["passed", "passed"]
    rows = [(place.data, version.name, version.tags["release"]) for place, version in zip(places, found, strict=True)]
    report.table("Trained in the cluster from", [("data", "model", "release"), *rows])
    for release in releases:
        stack.helm.uninstall(release)


def test_pods_are_deleted_one_by_one_under_load(stack: Stack, report: Report) -> None:
    with running(stack.runner, stack.load(rate=60)) as load:
        for name in sorted(_names(stack)):
            stack.kube.delete(stack.serving, f"pod/{name}")
            stack.kube.wait_rolled_out(stack.serving, "deployment/serving")

    report.add("Pods deleted one by one", told(load))
    assert load["dropped"] == 0, load["errors"]


def test_pods_follow_the_load(stack: Stack, report: Report) -> None:
    heavy = stack.load(rate=0, workers=4, rows=500)

    def settle(what: str, number: int) -> None:
        stack.kube.wait(what, lambda: stack.ready_pods() == number, seconds=180, namespace=stack.serving)

    settle("two pods run", 2)
    with _replicas(stack) as history, running(stack.runner, stack.load(rate=20, workers=4)) as light:
        with running(stack.runner, heavy) as pressure:
            settle("a third pod comes", 3)
        settle("it leaves again", 2)

    report.add("Pods over time, under load and after", *(f"- {at:4.0f} s: {pods}" for at, pods in history))
    report.add(
        "Pods over time, under load and after", "", f"Heavy load: {told(pressure)}.", "", f"Light load: {told(light)}."
    )
    counts = [pods for _, pods in history]
    assert (counts[0], max(counts), counts[-1]) == (2, 3, 2)
    assert (pressure["errors"], light["errors"]) == ([], [])


def _names(stack: Stack) -> set[str]:
    return {pod["metadata"]["name"] for pod in stack.serving_pods()}


@contextlib.contextmanager
def _replicas(stack: Stack) -> Iterator[list[tuple[float, int]]]:
    """Record the number of replicas that the autoscaler wants, each time it changes."""
    history: list[tuple[float, int]] = []
    stop = threading.Event()
    begun = time.monotonic()

    def note() -> None:
        while not stop.wait(2 if history else 0):
            replicas = stack.kube.get(stack.serving, "deployment", "serving")["spec"]["replicas"]
            if not history or history[-1][1] != replicas:
                history.append((time.monotonic() - begun, replicas))

    watcher = threading.Thread(target=note)
    watcher.start()
    try:
        yield history
    finally:
        stop.set()
        watcher.join()

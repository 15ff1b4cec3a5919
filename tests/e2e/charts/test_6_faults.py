"""Faults are refused, name their cause, and do not affect what works.

The faults are a tampered model, keys that a server does not know, and missing Secrets.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.charts.stack import Stack, told
from tests.e2e.helm import Release
from tests.e2e.kube import CommandError, Manifest, together
from tests.e2e.pods import running
from tests.e2e.report import Report

pytestmark = pytest.mark.timeout(300)


def test_a_tampered_model_is_refused(stack: Stack, report: Report) -> None:
    """Version 1 is changed in the store and then rolled out. Its pod stays out of service; version 2 keeps serving."""
    registry = stack.registry()
    first, second = registry.version("1"), registry.version("2")
    stack.objects(spoil=urlsplit(first.uri).path.strip("/") + "/model.onnx")

    with running(stack.runner, stack.load(rate=60)) as load:
        with pytest.raises(CommandError):
            stack.helm.install(stack.serving_release(first.pins), seconds=60)
        (refused,) = (pod["metadata"]["name"] for pod in stack.serving_pods() if _pinned_to("1", pod))
        log = stack.kube.logs(stack.serving, refused)
        rollout = stack.kube.get(stack.serving, "deployment", "serving")["status"]["conditions"]
        stack.helm.install(stack.serving_release(second.pins))

    reason = next(line for line in log.splitlines() if first.tags["digest"] in line)
    report.add("A tampered model", f"`{reason}`", "", told(load))
    assert "ProgressDeadlineExceeded" in {condition.get("reason") for condition in rollout}
    assert load["dropped"] == 0, load["errors"]
    assert set(load["versions"]) == {"2"}


def test_wrong_keys_and_missing_secrets_are_named(stack: Stack, report: Report) -> None:
    # No release is named like its Secret. Otherwise every mention of its pods would count.
    faults: dict[str, Callable[[str], str]] = {
        "s3-missing": lambda secret: _serving(stack, "serving-keyless", secret),
        "s3-wrong-serving": lambda secret: _serving(stack, "serving-in-vain", secret),
        "s3-wrong-training": lambda secret: _training(stack, secret),
        "s3-wrong-backup": lambda secret: _backup(stack, secret),
        "database-missing": lambda secret: _mlflow(stack, "mlflow-homeless", secret),
        "database-wrong": lambda secret: _mlflow(stack, "mlflow-in-vain", secret),
    }

    found = together(*(lambda secret=secret, fault=fault: fault(secret) for secret, fault in faults.items()))

    report.table("Faults and what names them", [("Secret", "event or log line"), *zip(faults, found, strict=True)])


def _pinned_to(version: str, pod: Manifest) -> bool:
    return {"name": "MODEL_VERSION", "value": version} in pod["spec"]["containers"][0]["env"]


def _serving(stack: Stack, name: str, secret: str) -> str:
    values: Mapping[str, Any] = {
        "autoscaling": {"enabled": False},
        "smoke": {"enabled": False},
        "s3": {"endpointUrl": stack.s3_url, "existingSecret": secret},
    }
    release = stack.serving_release(stack.registry().version("2").pins, values, name)
    stack.helm.install(release, wait=False)
    return _sentence(stack, release, secret)


def _training(stack: Stack, secret: str) -> str:
    release = stack.training_release(name="training-in-vain", keys=secret)
    stack.helm.install(release)
    stack.kube.run("create", "job", "-n", release.namespace, "train-in-vain", f"--from=cronjob/{release.name}")
    return _sentence(stack, release, secret)


def _backup(stack: Stack, secret: str) -> str:
    values = stack.postgres_release().values["backup"]
    wrong = {**values, "s3": {**values["s3"], "existingSecret": secret}}
    release = stack.postgres_release("postgres", {"backup": wrong})
    stack.helm.install(release)
    stack.kube.run("create", "job", "-n", release.namespace, "back-up-in-vain", "--from=cronjob/postgres-backup")
    sentence = _sentence(stack, release, secret)
    stack.kube.delete(release.namespace, "job/back-up-in-vain")
    stack.helm.install(stack.postgres_release())
    return sentence


def _mlflow(stack: Stack, name: str, secret: str) -> str:
    """The migration, which runs before everything else, fails."""
    release = stack.mlflow_release(name, {"database": {"existingSecret": secret}})
    with pytest.raises(CommandError):
        stack.helm.install(release, seconds=40)
    return _sentence(stack, release, secret)


def _sentence(stack: Stack, release: Release, secret: str) -> str:
    """Wait for an event or a log line of the release's pods that names the Secret, and return it."""

    def sentence() -> str | None:
        pods = stack.kube.items(release.namespace, "pods", {"app.kubernetes.io/instance": release.name})
        names = {pod["metadata"]["name"] for pod in pods}
        said = [event for event in stack.kube.events(release.namespace) if event.partition(":")[0][4:] in names]
        for name in sorted(names):
            said += stack.kube.logs(release.namespace, name).splitlines()
        return next((line for line in said if secret in line), None)

    what = f"Secret {secret} is named by a pod of {release.name}"
    return stack.kube.wait(what, sentence, seconds=120, namespace=release.namespace, names=(release.name,))

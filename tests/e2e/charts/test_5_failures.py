"""Any pod may be killed: predictions continue without registry, database and store, and no registered model is lost."""

import pytest

from tests.e2e.charts.stack import Stack, told
from tests.e2e.kube import ready, together
from tests.e2e.pods import running
from tests.e2e.report import Report

pytestmark = pytest.mark.timeout(300)

PLATFORM = {"postgres": "statefulset", "minio": "statefulset", "mlflow": "deployment"}


def test_a_killed_serving_pod_is_replaced(stack: Stack, report: Report) -> None:
    victim = next(pod["metadata"]["name"] for pod in stack.serving_pods() if ready(pod))

    with running(stack.runner, stack.load(rate=60)) as load:
        _kill(stack, stack.serving, victim)
        stack.wait_enough_pods()

    report.add("A serving pod killed without warning", told(load))
    # Requests in progress are lost, and those that arrive until the Service has removed the pod.
    assert load["dropped"] <= 0.1 * load["sent"], load["errors"]


def test_predictions_continue_while_the_platform_is_killed(stack: Stack, report: Report) -> None:
    registry, objects = stack.registry(), stack.objects()
    victims = [
        pod["metadata"]["name"] for name in PLATFORM for pod in stack.kube.items(stack.platform, "pods", _server(name))
    ]
    assert len(victims) == len(PLATFORM)

    with running(stack.runner, stack.load(rate=60)) as load:
        together(*(lambda name=name: _kill(stack, stack.platform, name) for name in victims))
        together(
            *(
                lambda workload=f"{kind}/{name}": stack.kube.wait_rolled_out(stack.platform, workload)
                for name, kind in PLATFORM.items()
            )
        )

    report.add("Postgres, MinIO and MLflow killed at once", told(load))
    assert load["dropped"] == 0, load["errors"]
    assert (stack.registry(), stack.objects()) == (registry, objects)


def _server(release: str) -> dict[str, str]:
    return {"app.kubernetes.io/instance": release, "app.kubernetes.io/component": "server"}


def _kill(stack: Stack, namespace: str, pod: str) -> None:
    """Kill a pod after one second, whatever it is doing.

    Not with `--force`: a StatefulSet's next pod would then start while the old one still writes to the same volume.
    """
    stack.kube.run("delete", "pod", "-n", namespace, pod, "--grace-period=1", seconds=60)

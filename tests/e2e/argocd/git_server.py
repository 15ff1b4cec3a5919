"""The forge of the tests: a git server in the cluster that Argo CD reads and this machine pushes to."""

from tests.e2e.kube import Kube, Manifest

PORT = 8080
SSH_PORT = 2222
HOST = "git"


def address(namespace: str) -> str:
    """The repository's address inside the cluster."""
    return f"http://{HOST}.{namespace}:{PORT}/git/pipeline.git"


def ssh_address(namespace: str) -> str:
    """The same repository over SSH, for who has the deploy key."""
    return f"ssh://git@{HOST}.{namespace}:{SSH_PORT}/tmp/repositories/pipeline.git"  # noqa: S108  in the pod


def start(kube: Kube, namespace: str, image: str) -> None:
    """Run the server, and wait until it answers. Its repository lives as long as the pod."""
    labels = {"app.kubernetes.io/name": HOST}
    kube.apply([_pod(namespace, image, labels), _service(namespace, labels)])
    kube.run("wait", "-n", namespace, f"pod/{HOST}", "--for=condition=Ready", "--timeout=120s", seconds=130)


def _pod(namespace: str, image: str, labels: dict[str, str]) -> Manifest:
    container = {
        "name": "git",
        "image": image,
        "ports": [{"name": "http", "containerPort": PORT}, {"name": "ssh", "containerPort": SSH_PORT}],
        "readinessProbe": {"httpGet": {"path": "/git/pipeline.git/HEAD", "port": "http"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  in the pod
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": HOST, "namespace": namespace, "labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def _service(namespace: str, labels: dict[str, str]) -> Manifest:
    ports = [{"name": name, "port": port, "targetPort": name} for name, port in (("http", PORT), ("ssh", SSH_PORT))]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": HOST, "namespace": namespace},
        "spec": {"selector": labels, "ports": ports},
    }

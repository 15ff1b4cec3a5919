"""Check and prepare the cluster. These tests use the project's own names, so they need a whole cluster."""

import base64
import json
import urllib.error
import urllib.request

import pytest

from tests.e2e.argocd import rollouts
from tests.e2e.argocd.fork import ROOT
from tests.e2e.argocd.pipeline import MARK, NAMESPACE
from tests.e2e.images import Images
from tests.e2e.kube import CommandError, Kube, run_program
from tests.e2e.pods import Runner, Script

_WATCHING_CHARTS = "https://prometheus-community.github.io/helm-charts/index.yaml"
_SECONDS = 5
_PLACES = "ml-pipeline-"
_REMOTE = "pipeline-e2e-remote"


def require_free(kube: Kube) -> None:
    """End the run if the cluster has an Argo CD that no run of these tests installed."""
    names = kube.run("get", "namespaces", "-o", "name").split()
    marked = kube.run("get", "namespaces", "-l", ",".join(f"{k}={v}" for k, v in MARK.items()), "-o", "name")
    if "namespace/argocd" in names and not marked.strip():
        pytest.exit(
            "The cluster has a namespace argocd that these tests did not make, and they would remove it: "
            "use a separate cluster.",
            returncode=2,
        )


def take_away(kube: Kube) -> None:
    """Remove everything that a run made, with its data. The mark goes last, so an interrupted removal can continue."""
    names = kube.run("get", "namespaces", "-o", "name").split()
    if f"namespace/{NAMESPACE}" not in names:
        return
    if "namespace/argocd" in names:
        run_program(
            ["gitops", "teardown", "--delete-data", "--yes"],
            cwd=ROOT, environment={"KUBECONFIG": kube.kubeconfig}, seconds=400,
        )  # fmt: skip
    # An earlier run may have made environments that this checkout does not know.
    for name in names:
        if name.startswith(f"namespace/{_PLACES}"):
            kube.run("delete", name, "--ignore-not-found", "--timeout=120s", seconds=130)
    rollouts.take_away(kube)
    kube.run("delete", "clusterrolebinding", _REMOTE, "--ignore-not-found")
    kube.run("delete", "namespace", NAMESPACE, "--timeout=120s", seconds=130)


def second_cluster(kube: Kube, name: str) -> str:
    """Add this cluster to Argo CD under a second name and address, as `argocd cluster add` adds another cluster.

    Returns:
        The address of its API server that Argo CD uses.
    """
    found = kube.get("default", "endpoints", "kubernetes")["subsets"][0]
    server = f"https://{found['addresses'][0]['ip']}:{found['ports'][0]['port']}"
    account = {"kind": "ServiceAccount", "name": _REMOTE, "namespace": NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    kube.apply(
        [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _REMOTE, "namespace": NAMESPACE}},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": _REMOTE},
                "roleRef": role,
                "subjects": [account],
            },
        ]
    )
    authority = kube.get("default", "configmap", "kube-root-ca.crt")["data"]["ca.crt"]
    config = {
        "bearerToken": kube.run("create", "token", _REMOTE, "-n", NAMESPACE, "--duration=12h").strip(),
        "tlsClientConfig": {"caData": base64.b64encode(authority.encode()).decode()},
    }
    labels = {"argocd.argoproj.io/secret-type": "cluster"}
    kube.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": f"cluster-{name}", "namespace": "argocd", "labels": labels},
                "stringData": {"name": name, "server": server, "config": json.dumps(config)},
            }
        ]
    )
    return server


def plain_http(registry: str) -> bool:
    """Return whether a registry speaks HTTP without TLS."""
    try:
        with urllib.request.urlopen(f"http://{registry.partition('/')[0]}/v2/", timeout=_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def left_out(kube: Kube, images: Images) -> tuple[str, ...]:
    """Return the applications whose chart repository the cluster cannot reach."""
    runner = Runner(kube, images.serving.reference)
    script = Script("reach-charts", NAMESPACE, "fetch.py", {"url": _WATCHING_CHARTS, "seconds": _SECONDS})
    answer = runner.ask(script)
    if answer["reached"]:
        return ()
    try:
        kube.run("get", "customresourcedefinition", "servicemonitors.monitoring.coreos.com")
    except CommandError:
        pytest.exit(
            "The cluster reaches no chart of kube-prometheus-stack and does not know its kinds: apply the Prometheus "
            "operator's definitions first.",
            returncode=2,
        )
    return ("monitoring", "pushgateway")


def can_pull(kube: Kube, image: str) -> bool:
    """Return whether the cluster can pull an image from where it is published."""
    name = "try-image"
    container = {
        "name": name,
        "image": image,
        "command": ["/does/not/exist"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"restartPolicy": "Never", "securityContext": security, "containers": [container]}
    metadata = {"name": name, "namespace": NAMESPACE}
    kube.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}])

    def reason() -> str:
        statuses = kube.get(NAMESPACE, "pod", name)["status"].get("containerStatuses", [])
        state = statuses[0]["state"] if statuses else {}
        found = state.get("waiting", state.get("terminated", {})).get("reason", "")
        return "" if found == "ContainerCreating" else str(found)

    found = kube.wait(f"{image} is pulled or not", reason, seconds=120, namespace=NAMESPACE, names=(name,))
    kube.delete(NAMESPACE, "pod", name)
    return found not in {"ErrImagePull", "ImagePullBackOff"}

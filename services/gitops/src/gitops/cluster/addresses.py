"""Addresses of the running services, and how to get the passwords: commands, never values."""

from collections.abc import Sequence

from msgspec import Struct

from gitops.platform.model import ARGOCD, MONITORING, PIPELINE, Platform
from gitops.platform.targets import targets
from gitops.rendering.manifests import Manifest


class Address(Struct, frozen=True, kw_only=True):
    """The address of a web page, and the command that makes it reachable, if one is needed."""

    what: str
    url: str
    command: str = ""


class Password(Struct, frozen=True, kw_only=True):
    """A user, where it signs in, and the command that prints its password."""

    what: str
    user: str
    command: str


class _Place(Struct, frozen=True):
    what: str
    namespace: str
    service: str
    port: int
    local: int
    scheme: str = "http"
    path: str = ""


_SHARED_PLACES = (
    _Place("Argo CD", ARGOCD, "argocd-server", 443, 8080, "https"),
    _Place("MLflow", PIPELINE, "mlflow", 5000, 5000),
    _Place("MinIO console", PIPELINE, "minio-console", 9001, 9001),
    _Place("Grafana", MONITORING, "monitoring-grafana", 80, 3000),
    _Place("Prometheus", MONITORING, "monitoring-kube-prometheus-prometheus", 9090, 9090),
)
# First local port for the APIs of the services, which are in the order of platform.yaml.
_FIRST_API = 8001
# The last field has the keys to print: also that of the user name if it is random.
_PASSWORDS = (
    ("Argo CD", "admin", ARGOCD, "argocd-initial-admin-secret", "password"),
    ("Grafana", "admin", MONITORING, "grafana-admin", "admin-password"),
    ("MinIO console", "root", PIPELINE, "minio-root", "root-user root-password"),
    ("Postgres", "postgres", PIPELINE, "postgres-auth", "postgres-password"),
    ("MLflow", "admin", PIPELINE, "mlflow-auth", "password"),
)


def addresses(
    platform: Platform, services: Sequence[Manifest], ingresses: Sequence[Manifest], kubectl: str
) -> list[Address]:
    """Return the places whose Services exist: with their Ingress if they have one, otherwise with a port-forward.

    Args:
        platform: The content of platform.yaml: which services it has, in which environments.
        services: Services of all namespaces.
        ingresses: Ingresses of all namespaces.
        kubectl: The kubectl command for this cluster.
    """
    there = {(entry["metadata"]["namespace"], entry["metadata"]["name"]) for entry in services}
    urls = _ingress_urls(ingresses)
    found = []
    for place in (*_SHARED_PLACES, *_apis(platform)):
        if (place.namespace, place.service) not in there:
            continue
        if url := urls.get((place.namespace, place.service)):
            found.append(Address(what=place.what, url=url + place.path))
            continue
        command = (
            f"{kubectl} --namespace {place.namespace} port-forward service/{place.service} {place.local}:{place.port}"
        )
        url = f"{place.scheme}://localhost:{place.local}{place.path}"
        found.append(Address(what=place.what, url=url, command=command))
    return found


def passwords(secrets: Sequence[Manifest], services: Sequence[Manifest], kubectl: str) -> list[Password]:
    """Return how to print the administrators' passwords that exist, for places that exist.

    Args:
        secrets: Secrets of all namespaces.
        services: Services of all namespaces.
        kubectl: The kubectl command for this cluster.
    """
    there = {(entry["metadata"]["namespace"], entry["metadata"]["name"]) for entry in secrets}
    running = {(entry["metadata"]["namespace"], entry["metadata"]["name"]) for entry in services}
    absent = {place.what for place in _SHARED_PLACES if (place.namespace, place.service) not in running}
    return [
        Password(
            what=what,
            user=user,
            command=f"{kubectl} --namespace {namespace} get secret {name} --output {_printed(keys.split())}",
        )
        for what, user, namespace, name, keys in _PASSWORDS
        if (namespace, name) in there and what not in absent
    ]


def _printed(keys: Sequence[str]) -> str:
    if len(keys) == 1:
        return f"jsonpath='{{.data.{keys[0]}}}' | base64 --decode; echo"
    values = " ".join(f'{{{{index .data "{key}" | base64decode}}}}' for key in keys)
    return f"go-template='{values}'; echo"


def _apis(platform: Platform) -> list[_Place]:
    """Return one place for each service and environment in Argo CD's cluster, the only one that kubectl addresses."""
    return [
        _Place(f"API, {target}", target.namespace, target.release_name, 80, _FIRST_API + index, path="/docs")
        for index, target in enumerate(targets(platform))
        if not target.environment.cluster
    ]


def _ingress_urls(ingresses: Sequence[Manifest]) -> dict[tuple[str, str], str]:
    urls = {}
    for ingress in ingresses:
        spec = ingress.get("spec") or {}
        secure = {host for entry in spec.get("tls") or [] for host in entry.get("hosts") or []}
        for rule in spec.get("rules") or []:
            for path in (rule.get("http") or {}).get("paths") or []:
                service = (path.get("backend") or {}).get("service") or {}
                if host := rule.get("host"):
                    scheme = "https" if host in secure else "http"
                    urls[ingress["metadata"]["namespace"], service.get("name", "")] = f"{scheme}://{host}"
    return urls

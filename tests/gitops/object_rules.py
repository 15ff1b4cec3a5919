"""Rules for the rendered objects of the applications: they are valid and safe, and refer to each other correctly.

Each takes the whole stack and yields one sentence for each violation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from tests.gitops import capacity
from tests.gitops.application_rules import Rule, group_of
from tests.gitops.stack import App, Stack, placed
from tests.support import policy, schemas
from tests.support.manifests import (
    Manifest,
    PodTemplate,
    containers,
    metadata,
    name_of,
    pod_template,
    selects,
    strings,
)

# scheme://[user@]name.namespace[.svc...]:port, the address by which one part of the pipeline names another.
_ADDRESS = re.compile(r"://(?:[^/\s@]*@)?([a-z0-9-]+)\.([a-z0-9-]+)(?:\.svc[\w.]*)?:(\d+)")


def _everything(stack: Stack) -> Iterator[tuple[App, Manifest]]:
    return ((app, manifest) for app in stack.apps for manifest in app.rendered)


def _unknown(stack: Stack) -> set[tuple[str, str]]:
    """Return the clusters and namespaces of applications whose objects are not available."""
    return {(app.server, app.namespace) for app in stack.apps if app.objects is None}


def _namespaces(stack: Stack) -> set[str]:
    """Return the namespaces in which anything of the stack runs."""
    return {app.namespace for app in stack.apps}


def _addresses(stack: Stack, texts: Iterable[str]) -> list[tuple[str, str, int]]:
    """Return name, namespace and port of each address inside the cluster."""
    namespaces = _namespaces(stack)
    found = set(_ADDRESS.findall("\n".join(texts)))
    return sorted((name, namespace, int(port)) for name, namespace, port in found if namespace in namespaces)


def valid(stack: Stack) -> Iterator[str]:
    """Built-in kinds are valid in the oldest supported Kubernetes and in the newest known one."""
    for app in stack.apps:
        for manifest in app.rendered if app.own else ():
            for version in schemas.VERSIONS:
                yield from (f"{app.name}: {problem}" for problem in schemas.problems(manifest, version))


def charts_policy(stack: Stack) -> Iterator[str]:
    """Objects of this repository's charts follow the charts' policy, also with the values of every environment."""
    for app in stack.apps:
        if app.own:
            yield from (f"{app.name}: {violation}" for violation in policy.violations(app.rendered))


def own_images(stack: Stack) -> Iterator[str]:
    """Released services run by digest. From the first release on, so does every other image that is built here."""
    for app, manifest in _everything(stack):
        pod = pod_template(manifest)
        released = app.manifest["spec"]["project"] == "serving"
        for where, container in containers(pod) if pod else ():
            image = container["image"]
            due = released or (stack.released and image.startswith(f"{stack.platform.registry.prefix}/"))
            if due and not re.search(r"@sha256:[0-9a-f]{64}$", image):
                yield f"{app.name}: {where}: {image} must be pinned by digest"


def known_secrets(stack: Stack) -> Iterator[str]:
    """Every Secret and ConfigMap, with each key that is used, is rendered in its namespace or made by bootstrap."""
    rendered = {
        (app.server, m["kind"], placed(app, m), m["metadata"]["name"]): _keys(m) for app, m in _everything(stack)
    }
    for app, manifest in _everything(stack):
        if not app.own:
            continue
        namespace = placed(app, manifest)
        for kind, name, keys in _references(manifest):
            there = rendered.get((app.server, kind, namespace, name))
            if there is None and kind == "Secret":
                there = stack.secrets.get((app.server, str(namespace), name))
            if there is None:
                yield f"{app.name}: {name_of(manifest)} needs the {kind} {namespace}/{name}, which nothing makes"
            else:
                for key in sorted(keys - there):
                    yield f"{app.name}: {name_of(manifest)} needs the key {key} of the {kind} {namespace}/{name}"


def _keys(manifest: Manifest) -> frozenset[str]:
    return frozenset({**(manifest.get("data") or {}), **(manifest.get("stringData") or {})})


def _references(manifest: Manifest) -> Iterator[tuple[str, str, set[str]]]:
    """Yield kind, name and keys of every Secret and ConfigMap that a manifest names anywhere."""
    for key, item in _fields(manifest):
        match key, item:
            case ("secretKeyRef" | "username" | "password", {"name": name, "key": wanted}):
                yield "Secret", name, {wanted}
            case ("configMapKeyRef", {"name": name, "key": wanted}):
                yield "ConfigMap", name, {wanted}
            case ("secretRef", {"name": name}):
                yield "Secret", name, set()
            case ("configMapRef", {"name": name}):
                yield "ConfigMap", name, set()
            case ("secret", {"secretName": name}):
                yield "Secret", name, {entry["key"] for entry in item.get("items") or []}
            case ("configMap", {"name": name}):
                yield "ConfigMap", name, {entry["key"] for entry in item.get("items") or []}
            case ("imagePullSecrets", list()):
                yield from (("Secret", entry["name"], set()) for entry in item)
            case ("tls", list()):
                yield from (("Secret", entry["secretName"], set()) for entry in item if "secretName" in entry)


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, at any depth."""
    for item in value if isinstance(value, list) else ():
        yield from _fields(item)
    for key, item in value.items() if isinstance(value, dict) else ():
        yield key, item
        yield from _fields(item)


def owned_once(stack: Stack) -> Iterator[str]:
    """No two applications own one object."""
    owners: dict[tuple[str, str, str, str | None, str], str] = {}
    for app, manifest in _everything(stack):
        key = (app.server, group_of(manifest), manifest["kind"], placed(app, manifest), manifest["metadata"]["name"])
        first = owners.setdefault(key, app.name)
        if first != app.name:
            yield f"{app.name}: {name_of(manifest)} is also owned by {first}"


def monitors_find_services(stack: Stack) -> Iterator[str]:
    """A ServiceMonitor finds Services of the stack with the ports that it scrapes, in every namespace that it names."""
    unknown = _unknown(stack)
    for app, monitor in _everything(stack):
        if monitor["kind"] != "ServiceMonitor" or not app.own:
            continue
        spec = monitor["spec"]
        for namespace in (spec.get("namespaceSelector") or {}).get("matchNames") or [placed(app, monitor)]:
            if (app.server, namespace) in unknown:
                continue
            ports = _ports(stack, app.server, namespace, spec["selector"])
            for endpoint in spec["endpoints"]:
                if endpoint["port"] not in ports:
                    where = f"with a port {endpoint['port']} in {namespace}"
                    yield f"{app.name}: {name_of(monitor)} finds no Service {where}"


def _ports(stack: Stack, server: str, namespace: str | None, selector: dict[str, Any]) -> set[str]:
    return {
        port.get("name", "")
        for app, manifest in _everything(stack)
        if manifest["kind"] == "Service" and (app.server, placed(app, manifest)) == (server, namespace)
        if selects(selector, metadata(manifest, "labels"))
        for port in manifest["spec"].get("ports") or []
    }


def addresses_answer(stack: Stack) -> Iterator[str]:
    """If one part names another by its address, a Service with that name and port is in the same cluster."""
    services = {
        (app.server, manifest["metadata"]["name"], placed(app, manifest)): {
            port["port"] for port in manifest["spec"].get("ports") or []
        }
        for app, manifest in _everything(stack)
        if manifest["kind"] == "Service"
    }
    unknown = _unknown(stack)
    for app, manifest in _everything(stack):
        for name, namespace, port in _addresses(stack, strings(manifest)) if app.own else ():
            known = (app.server, namespace) not in unknown
            if known and port not in services.get((app.server, name, namespace), set()):
                yield f"{app.name}: {name_of(manifest)} names {name}.{namespace}:{port}, and no Service answers there"


def let_in(stack: Stack) -> Iterator[str]:
    """If a pod names another part by its address, the policies of the pods behind it let the pod in."""
    for app, pod in _pods(stack):
        for name, namespace, port in _addresses(stack, _read_by(app, pod)):
            for policies in _guards(stack, app.server, name, namespace):
                if not any(policy.lets_in(each, namespace, app.namespace, pod.labels, port) for each in policies):
                    yield f"{app.name}: {pod.owner} calls {name}.{namespace}:{port}, and a NetworkPolicy keeps it out"


def _pods(stack: Stack) -> Iterator[tuple[App, PodTemplate]]:
    for app, manifest in _everything(stack):
        if app.own and (pod := pod_template(manifest)):
            yield app, pod


def _read_by(app: App, pod: PodTemplate) -> Iterator[str]:
    """Yield every text that a pod can read: its own, and those of the ConfigMaps that it names."""
    yield from strings(pod.spec)
    named = {name for kind, name, _ in _references(pod.spec) if kind == "ConfigMap"}
    for manifest in app.rendered:
        if manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"] in named:
            yield from strings(manifest)


def _guards(stack: Stack, server: str, name: str, namespace: str) -> Iterator[list[Manifest]]:
    """Yield, for each workload behind a Service, the policies that restrict its callers, if there are any."""
    there = [
        manifest for app, manifest in _everything(stack) if (app.server, placed(app, manifest)) == (server, namespace)
    ]
    services = [each for each in there if each["kind"] == "Service" and each["metadata"]["name"] == name]
    for service in services:
        selector = {"matchLabels": service["spec"].get("selector") or {}}
        for pod in filter(None, map(pod_template, there)):
            closing = [
                each
                for each in there
                if each["kind"] == "NetworkPolicy" and "Ingress" in each["spec"]["policyTypes"]
                if selects(each["spec"]["podSelector"], pod.labels)
            ]
            if selects(selector, pod.labels) and closing:
                yield closing


def _trains(app: App) -> bool:
    return any(source.get("path") == "charts/training" for source in app.sources)


def fits(stack: Stack) -> Iterator[str]:
    """All pods at the busiest time fit one small node. If several trainings run at once, one may wait for room."""
    own = [app for app in stack.apps if app.own]
    trainings = [capacity.asked(app.rendered) for app in own if _trains(app)]
    others = [capacity.asked(app.rendered) for app in own if not _trains(app)]
    asked = capacity.total([*stack.reserved, *others, capacity.largest(trainings)])
    if asked.cpu > capacity.ROOM.cpu:
        yield f"all pods request {asked.cpu} millicores of CPU, and there are {capacity.ROOM.cpu}"
    if asked.memory > capacity.ROOM.memory:
        room = capacity.ROOM.memory // capacity.MIB
        yield f"all pods request {asked.memory // capacity.MIB} MiB of memory, and there are {room}"


RULES: tuple[Rule, ...] = (
    valid,
    charts_policy,
    own_images,
    known_secrets,
    owned_once,
    monitors_find_services,
    addresses_answer,
    let_in,
    fits,
)

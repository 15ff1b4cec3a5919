"""Check platform.yaml: each problem is a sentence that says what to do."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from gitops.platform.forges import FORGES
from gitops.platform.model import (
    ARGOCD,
    MONITORING,
    PIPELINE,
    ROLLOUTS,
    SCP_FORM,
    Cluster,
    Environment,
    Forge,
    Platform,
    Service,
)
from gitops.platform.signin import MlflowClient, Oidc
from gitops.platform.targets import Target

_LABEL = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_URL_FORM = re.compile(r"(https?|ssh)://[^\s/]+/[^\s]+")
_PAGE = re.compile(r"https?://[^\s/@?#]+(/[^\s?#]*)?")
_GROUP = re.compile(r"[^\s,'\"\\`][^,'\"\\`\n\r]*")
# A registry host with a path, as in an OCI reference, which must be lower case.
_REGISTRY = re.compile(r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+")
_BRANCH = re.compile(r"(?![-/.])(?!.*(\.\.|//|@\{|\.lock$))[^\s~^:?*\[\\\x00-\x20]+(?<![/.])")
# SERVICE-ENV and the longest suffix of the charts must fit into a DNS label.
LONGEST = 45
_LONGEST_LABEL = 63
# Names that are taken: folders of envs/ that are no environments, services whose Applications would have the name of a
# shared part, and namespaces.
_TAKEN = {"environment": ("platform",), "service": ("training", "platform")}
_RESERVED = (PIPELINE, ARGOCD, MONITORING, ROLLOUTS, "kube-system", "kube-public", "kube-node-lease", "default")
# YAML parsers may read these as another type than string, if they are not quoted.
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})
# MLflow models get an alias with the name of each environment. Training sets one of these itself, and MLflow reserves
# the others.
_ALIASES = re.compile(r"candidate|latest|v[0-9]+")
_IN_CLUSTER = re.compile(r"(\.svc(\.|$)|\.cluster\.local$|^[a-z0-9-]+(\.[a-z0-9-]+)?$)")


def problems(platform: Platform) -> list[str]:
    """Return all problems of platform.yaml; empty if it is valid."""
    return [
        *_repository(platform),
        *_forge(platform),
        *_registry(platform),
        *_names("environment", [entry.name for entry in platform.environments]),
        *_names("service", [entry.name for entry in platform.services]),
        *_lengths(platform),
        *_together(platform),
        *_routes(platform.environments),
        *_clusters(platform),
        *_namespaces(platform),
        *_services(platform.services),
        *_stores(platform),
        *_bumps(platform),
        *_chats(platform),
        *_sign_in(platform),
    ]


def _stores(platform: Platform) -> Iterator[str]:
    if platform.next_store == platform.store:
        yield f"nextStore: {platform.next_store} is already the store; leave nextStore out, or name the other one."


def _bumps(platform: Platform) -> Iterator[str]:
    if platform.bumps != "push" and FORGES[platform.forge_kind].same_approvals:
        yield (
            "bumps: on this forge, every merge needs the same approvals, so no pull request would merge itself, and "
            "pushes are already limited to certain files: leave bumps out."
        )


def _chats(platform: Platform) -> Iterator[str]:
    owners = {service.owner for service in platform.services}
    for owner, chat in platform.chats.items():
        if owner not in owners:
            yield f"chats: no service has the owner {owner!r}; write it as in `services`."
        if chat in ("people", "github"):
            yield f"chats: {chat!r} is reserved for a receiver of all events: give the chat of {owner} another name."
        if not _LABEL.fullmatch(chat):
            yield f"chats: {chat!r} is not a DNS label: lower-case letters, digits and hyphens."


def _sign_in(platform: Platform) -> Iterator[str]:
    if (oidc := platform.oidc) is None:
        return
    for field, address in _addresses(oidc).items():
        if not _PAGE.fullmatch(address):
            yield f"oidc.{field}: {address!r} is not an address such as https://login.example.com."
    if oidc.mlflow:
        yield from _mlflow_sign_in(oidc, oidc.mlflow)
    for owner in oidc.owners:
        if owner not in {service.owner for service in platform.services}:
            yield f"oidc.owners: no service has the owner {owner!r}; write it as in `services`."
    for group in [*oidc.admins, *oidc.viewers, *(group for groups in oidc.owners.values() for group in groups)]:
        # The group is part of a line in a policy, and of a condition in Grafana.
        if not _GROUP.fullmatch(group):
            yield f"oidc: the group {group!r} may not hold commas, quotes, backslashes or line breaks."


def _addresses(oidc: Oidc) -> dict[str, str]:
    found = {"issuer": oidc.issuer}
    if oidc.argocd:
        found["argocd.url"] = oidc.argocd.url
    if grafana := oidc.grafana:
        found |= {"grafana.url": grafana.url, "grafana.authUrl": grafana.auth_url}
        found |= {"grafana.tokenUrl": grafana.token_url, "grafana.apiUrl": grafana.api_url}
    if oidc.mlflow:
        found["mlflow.url"] = oidc.mlflow.url
    return found


def _mlflow_sign_in(oidc: Oidc, mlflow: MlflowClient) -> Iterator[str]:
    if urlsplit(mlflow.url).path not in ("", "/"):
        yield "oidc.mlflow.url: MLflow needs a separate host; leave the path out."
    if mlflow.secret and not _LABEL.fullmatch(mlflow.secret):
        yield f"oidc.mlflow.secret: {mlflow.secret!r} is not the name of a Secret."
    if not (oidc.admins or oidc.viewers or oidc.owners):
        yield "oidc.mlflow: nobody could sign in; name groups in admins, viewers or owners."


def _repository(platform: Platform) -> Iterator[str]:
    address = platform.repository
    if not (_URL_FORM.fullmatch(address) or SCP_FORM.fullmatch(address)):
        yield (f"repository: {address!r} is not an address to clone from, such as https://github.com/you/pipeline.git.")
    elif urlsplit(address).password:
        yield "repository: a password does not belong in an address that is committed; give it to `gitops bootstrap`."
    if not _BRANCH.fullmatch(platform.branch):
        yield f"branch: {platform.branch!r} is not a valid name of a branch."


def _forge(platform: Platform) -> Iterator[str]:
    if not isinstance(platform.forge, Forge):
        return
    for field, address in (("url", platform.forge.url), ("api", platform.forge.api)):
        if address and not _PAGE.fullmatch(address):
            yield (
                f"forge.{field}: {address!r} is not an address such as https://git.example.com, without a password "
                "and without a query."
            )


def _registry(platform: Platform) -> Iterator[str]:
    prefix = platform.registry.prefix
    # The placeholder of a fresh fork is in upper case.
    if not _REGISTRY.fullmatch(prefix if platform.adopted else prefix.lower()):
        yield (
            f"registry.prefix: {prefix!r} is not a registry with a path, in lower case and without a scheme, "
            "such as ghcr.io/you/pipeline."
        )


def _names(kind: str, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if not _LABEL.fullmatch(name):
            yield (
                f"{kind}s: {name!r} cannot be the name of objects in a cluster: it must begin with a lower-case "
                "letter, and hold only lower-case letters, digits and hyphens."
            )
        elif name in _WORDS:
            yield f"{kind}s: {name!r} is not always read as text in YAML; choose another name."
        elif name in _TAKEN[kind]:
            yield f"{kind}s: {name!r} is a name of the shared parts; choose another one."
        elif kind == "environment" and _ALIASES.fullmatch(name):
            yield (
                f"environments: {name!r} cannot be an alias of models in MLflow, but each environment needs an alias "
                "with its name; choose another name."
            )
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{kind}s: {name!r} occurs {count} times; each {kind} needs its own name."


def _lengths(platform: Platform) -> Iterator[str]:
    for environment in platform.environments:
        if len(environment.where) > _LONGEST_LABEL:
            yield f"environments: the namespace {environment.where!r} is longer than {_LONGEST_LABEL} characters."
        for service in platform.services:
            name = max(f"{service.name}-{environment.name}", f"{service.legacy_name}-{environment.name}", key=len)
            if len(name) > LONGEST:
                yield (
                    f"services: {name!r} has {len(name)} characters, but may have at most {LONGEST}, because names in "
                    "the cluster get suffixes: shorten the service or the environment."
                )


def _together(platform: Platform) -> Iterator[str]:
    """Report names in the cluster that two services or environments would share."""
    names = {entry.name for entry in platform.services}, {entry.name for entry in platform.environments}
    applications = Counter(f"{service}-{environment}" for service in names[0] for environment in names[1])
    for name, count in sorted(applications.items()):
        if count > 1:
            yield (
                f"services: {count} services and environments would share the application {name!r}: rename one of them."
            )
    for environment in platform.environments:
        taken: dict[str, str] = {}
        for service in platform.services:
            name = Target(environment=environment, service=service).release_name
            if taken.get(name, service.name) != service.name:
                yield (
                    f"services: {taken[name]} and {service.name} both have objects of the name {name!r} in "
                    f"{environment.name} (legacyName keeps an old one): rename one of them."
                )
            taken.setdefault(name, service.name)


def _routes(environments: Sequence[Environment]) -> Iterator[str]:
    sources = {entry.name: entry.source for entry in environments}
    for entry in environments:
        if entry.source and entry.source not in sources:
            yield (
                f"environments: {entry.name} has `from: {entry.source}`, but there is no such environment: "
                f"name one of {', '.join(sources)}, or leave `from` out."
            )
        elif entry.source and entry.name in _chain(entry.source, sources):
            chain = " <- ".join([entry.name, *_chain(entry.source, sources)])
            yield f"environments: {entry.name} feeds itself through its `from`: {chain}."
    if all(entry.source for entry in environments):
        yield "environments: each has a `from`, so nothing new can reach any of them: remove it from the first one."


def _chain(name: str, sources: dict[str, str]) -> list[str]:
    found: list[str] = []
    while name and name in sources and name not in found:
        found.append(name)
        name = sources[name]
    return found


def _clusters(platform: Platform) -> Iterator[str]:
    used = {entry.cluster for entry in platform.environments if entry.cluster}
    for entry in platform.environments:
        if entry.cluster and entry.cluster not in platform.clusters:
            yield (
                f"environments: {entry.name} is on the cluster {entry.cluster!r}, which is not in `clusters`: "
                "add it there with `server`, `s3` and `mlflow`."
            )
    for name, cluster in platform.clusters.items():
        if not re.fullmatch(r"https?://[^\s/]+\S*", cluster.server):
            yield f"clusters.{name}.server: {cluster.server!r} is not an address such as https://10.0.0.5:6443."
        if name in used:
            yield from _reachable(name, cluster)


def _reachable(name: str, cluster: Cluster) -> Iterator[str]:
    """Report addresses that another cluster cannot resolve: names of Services in Argo CD's cluster."""
    for field, address in (("s3", cluster.s3), ("mlflow", cluster.mlflow), ("prometheus", cluster.prometheus)):
        if not address:
            if field == "s3":
                yield (
                    f"clusters.{name}.s3 is missing: pods there need their own address of the store to download models."
                )
            continue
        host = urlsplit(address).hostname or ""
        if urlsplit(address).scheme not in ("http", "https") or not host:
            yield f"clusters.{name}.{field}: {address!r} is not an address such as https://s3.example.com."
        elif not _is_address(host) and _IN_CLUSTER.search(host):
            yield (
                f"clusters.{name}.{field}: {host} is a name inside one cluster and does not resolve in {name}: give "
                "the address at which that cluster reaches it."
            )


def _is_address(host: str) -> bool:
    return bool(re.fullmatch(r"[0-9.]+", host)) or ":" in host


def _namespaces(platform: Platform) -> Iterator[str]:
    taken: dict[tuple[str, str], str] = {}
    for entry in platform.environments:
        if not _LABEL.fullmatch(entry.where):
            yield f"environments: the namespace {entry.where!r} of {entry.name} is not a DNS label."
        if entry.where in _RESERVED:
            yield f"environments: the namespace {entry.where} of {entry.name} is used by the platform or the cluster."
        place = (entry.cluster, entry.where)
        if taken.get(place, entry.name) != entry.name:
            yield f"environments: {taken[place]} and {entry.name} share the namespace {entry.where}: give each its own."
        taken.setdefault(place, entry.name)


def _services(services: Sequence[Service]) -> Iterator[str]:
    owners: dict[str, str] = {}
    for service in services:
        if not re.fullmatch(r"[^/:@\s]+", service.model):
            yield f"services: the model {service.model!r} of {service.name} is not the name of a registered model."
        elif service.model in owners:
            yield (
                f"services: {owners[service.model]} and {service.name} both serve {service.model}, so both would move "
                "its aliases: use a second registered model, or one service."
            )
        owners.setdefault(service.model, service.name)
        if service.owner and not re.fullmatch(r"@[\w.-]+(/[\w.-]+)?|[^@\s]+@[^@\s]+", service.owner):
            yield (
                f"services: the owner {service.owner!r} of {service.name} is not @USER, @ORGANISATION/TEAM or an "
                "e-mail address."
            )
        if service.legacy_name and not _LABEL.fullmatch(service.legacy_name):
            yield f"services: the legacyName {service.legacy_name!r} of {service.name} is not a DNS label."
    legacy = Counter(service.legacy_name for service in services if service.legacy_name)
    for name, count in legacy.items():
        if count > 1:
            yield f"services: {count} services have the legacyName {name!r}: only one may have it."

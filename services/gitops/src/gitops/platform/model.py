"""The content of platform.yaml: a fork's addresses, environments, services and clusters."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from gitops.platform.forges import ForgeKind
from gitops.platform.signin import Oidc

PIPELINE = "ml-pipeline"
ARGOCD = "argocd"
MONITORING = "monitoring"
ROLLOUTS = "argo-rollouts"
PUSHGATEWAY = "pushgateway"
# The cluster that Argo CD runs in.
HERE = "https://kubernetes.default.svc"
# The address in a fresh fork, which nobody has adopted yet.
PLACEHOLDER = "OWNER/NAME"
SCP_FORM = re.compile(r"(?P<user>[\w.-]+)@(?P<host>[\w.-]+):(?P<path>[^/\s][^\s]*)")

Name = Annotated[str, Meta(min_length=1, description="A DNS label: lower-case letters, digits and hyphens.")]
Duration = Annotated[
    str, Meta(pattern=r"^[0-9]+(s|m|h|d)$", description="A whole number of seconds, minutes, hours or days: 10m.")
]
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Registry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The registry of images, under `prefix`, and charts, under `prefix/charts`."""

    prefix: Annotated[str, Meta(description="Prefix of images, without a scheme: ghcr.io/you/pipeline.")]
    plain_http: Annotated[bool, Meta(description="Whether the registry uses HTTP without TLS.")] = False

    @property
    def charts(self) -> str:
        """Return the address of the charts without a scheme, as in Argo CD's repoURL."""
        return f"{self.prefix}/charts"


class Environment(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"source": "from", "min_age": "minAge"}
):
    """A place where services run.

    `source` is the environment whose pins are promoted to it: its pins change only by pull requests. Without one,
    automation bumps them.
    """

    name: Name
    source: Annotated[str, Meta(description="The environment whose pins are promoted to this one.")] = ""
    min_age: Annotated[Duration, Meta(description="How long pins must run in `from` before they are proposed.")] = "0s"
    cluster: Annotated[str, Meta(description="A name under `clusters`; empty means the cluster of Argo CD.")] = ""
    namespace: Annotated[str, Meta(description="Its namespace. [default: ml-pipeline-NAME]")] = ""

    @property
    def where(self) -> str:
        """Return its namespace."""
        return self.namespace or f"{PIPELINE}-{self.name}"

    @property
    def min_minutes(self) -> float:
        """Return how long pins must have run in `source`, in minutes."""
        return int(self.min_age[:-1]) * _SECONDS[self.min_age[-1]] / 60


class Service(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A serving deployment with its own pins, in any number of environments."""

    name: Name
    model: Annotated[str, Meta(min_length=1, description="The registered model that it serves.")]
    owner: Annotated[str, Meta(description="The reviewer, as in CODEOWNERS: @team-iris.")] = ""
    legacy_name: Annotated[
        str,
        Meta(description="Objects in the cluster are named LEGACYNAME-ENVIRONMENT, as before services had names."),
    ] = ""


class Cluster(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cluster other than Argo CD's, and the addresses at which it reaches services of Argo CD's cluster."""

    server: Annotated[str, Meta(description="Address of its API server, as Argo CD knows it.")]
    s3: Annotated[str, Meta(description="Address of the artifact store, reachable from there.")] = ""
    mlflow: Annotated[str, Meta(description="Address of MLflow, reachable from there.")] = ""
    prometheus: Annotated[str, Meta(description="Address of its Prometheus, for canaries and quality metrics.")] = ""


class Argocd(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How Argo CD is installed."""

    vendored: Annotated[
        bool, Meta(description="Whether to use the manifest in argocd/vendored, for clusters without internet.")
    ] = False


class Forge(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The forge of the repository and its pull requests."""

    kind: ForgeKind
    url: Annotated[str, Meta(description="Its address in a browser, if that is not the host of the repository.")] = ""
    api: Annotated[str, Meta(description="Address of its API, if it is not the usual path below url.")] = ""


StoreKind = Literal["minio", "seaweedfs"]


class Platform(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"next_store": "nextStore"}):
    """The whole file. `platform.checks` finds problems in valid YAML of this form."""

    repository: Annotated[str, Meta(description="The address from which Argo CD clones this fork.")]
    registry: Registry
    environments: Annotated[list[Environment], Meta(min_length=1, description="In the order of promotion.")]
    services: Annotated[list[Service], Meta(description="What is served.")] = []
    branch: Annotated[str, Meta(min_length=1, description="The branch that Argo CD reads.")] = "main"
    forge: Annotated[ForgeKind | Forge, Meta(description="What hosts the repository.")] = "github"
    visibility: Annotated[
        Literal["public", "private"],
        Meta(description="Whether the repository is public or private; your own runners need a private one."),
    ] = "public"
    bumps: Annotated[
        Literal["push", "pull-requests"],
        Meta(
            description="How machines change pins on the branch: they push, or pull requests merge themselves "
            "once the checks have passed."
        ),
    ] = "push"
    store: Annotated[
        StoreKind, Meta(description="The S3 store that the parts use: charts/minio or charts/seaweedfs.")
    ] = "minio"
    next_store: Annotated[
        StoreKind | Literal[""],
        Meta(description="A second store, empty at first, to move to."),
    ] = ""
    chats: Annotated[
        dict[str, Name],
        Meta(description="Chat of an owner, for notifications about its services (gitops bootstrap --notify)."),
    ] = {}
    oidc: Annotated[Oidc | None, Meta(description="How people sign in, if not as the one local user.")] = None
    rollouts: Annotated[
        bool,
        Meta(
            description="Whether to install the controller of Argo Rollouts, for services with rollout.strategy canary."
        ),
    ] = False
    pushgateway: Annotated[
        bool,
        Meta(description="Whether to install a Pushgateway, for the figures of `training outcomes` in Prometheus."),
    ] = False
    clusters: Annotated[dict[str, Cluster], Meta(description="Clusters other than that of Argo CD, by name.")] = {}
    argocd: Argocd = Argocd()

    @property
    def adopted(self) -> bool:
        """Whether the fork is adopted: a fresh one has a placeholder."""
        return PLACEHOLDER not in self.repository

    @property
    def forge_kind(self) -> ForgeKind:
        """Return the kind of the forge."""
        return self.forge.kind if isinstance(self.forge, Forge) else self.forge

    @property
    def forge_api(self) -> str:
        """Return the address of the forge's API; empty for the usual address."""
        return self.forge.api if isinstance(self.forge, Forge) else ""

    @property
    def host(self) -> str:
        """Return the host of the git server, with its port if there is one."""
        if match := SCP_FORM.fullmatch(self.repository):
            return match["host"]
        return urlsplit(self.repository).netloc.rpartition("@")[2]

    @property
    def slug(self) -> str:
        """Return the path of the repository at its server, such as `you/pipeline`."""
        match = SCP_FORM.fullmatch(self.repository)
        path = match["path"] if match else urlsplit(self.repository).path
        if self.repository.startswith("http") and isinstance(self.forge, Forge):
            # The forge is below a path of its host.
            path = path.removeprefix(f"{urlsplit(self.forge.url).path.rstrip('/')}/")
        return str(PurePosixPath(path.strip("/"))).removesuffix(".git")

    @property
    def forge_url(self) -> str:
        """Return the web address of the forge."""
        if isinstance(self.forge, Forge) and self.forge.url:
            return self.forge.url.rstrip("/")
        if self.repository.startswith("http"):
            return f"{urlsplit(self.repository).scheme}://{self.host}"
        return f"https://{self.host.partition(':')[0]}"

    @property
    def web(self) -> str:
        """Return the web address of the repository."""
        return f"{self.forge_url}/{self.slug}"

    def cluster_of(self, environment: Environment) -> Cluster:
        """Return the cluster of an environment."""
        return self.clusters[environment.cluster] if environment.cluster else Cluster(server=HERE)

    def environment(self, name: str) -> Environment | None:
        """Return the environment with this name, if there is one."""
        return next((entry for entry in self.environments if entry.name == name), None)

    def service(self, name: str) -> Service | None:
        """Return the service with this name, if there is one."""
        return next((entry for entry in self.services if entry.name == name), None)

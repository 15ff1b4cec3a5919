"""The releases, Secrets and namespaces under test, and what the tests do with them."""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tests.e2e.helm import Helm, Release
from tests.e2e.images import Images
from tests.e2e.kube import Kube, Manifest, ready
from tests.e2e.pods import Runner, Script, scripts_config_map

_MODELS = Path(__file__).resolve().parents[3] / "models"
MODEL = "iris-classifier"
ROW = [5.1, 3.5, 1.4, 0.2]
BUCKET = "mlflow"
CLIENT = {"e2e": "client"}
"""Labels of pods that the serving releases let in, as they would an ingress controller."""
ASKS_MLFLOW = {"ml-pipeline/mlflow-client": "true"}
"""Labels of pods that MLflow lets in."""
TABLES_LOGIN = "tables-login"
"""The Secret with a login that may read one table in Postgres."""
_ASKING = "ask-mlflow"
"""The Secret with the user for queries of MLflow, as variables."""

_MLFLOW_USERS = ("training", "gitops", "serving", "smoke")

Values = dict[str, Any]


class Version(msgspec.Struct, frozen=True):
    """A registered model version."""

    name: str
    version: str
    tags: dict[str, str]
    uri: str

    @property
    def pins(self) -> Values:
        """Return the `model` value that pins this version."""
        return {"name": self.name, "version": self.version, "digest": self.tags["digest"], "uri": self.uri}


class Registry(msgspec.Struct, frozen=True):
    """The content of MLflow: numbers of experiments, runs and metrics, `model@alias` to version, and the versions."""

    experiments: int
    runs: int
    metrics: int
    aliases: dict[str, str]
    versions: list[Version]

    def version(self, number: str) -> Version:
        """Return the version of `MODEL` with this number."""
        return next(found for found in self.versions if (found.name, found.version) == (MODEL, number))


class Stack(msgspec.Struct, frozen=True):
    """Six releases in separate namespaces on one cluster."""

    kube: Kube
    images: Images
    platform: str
    serving: str
    outsider: str
    monitors: bool
    """Whether the cluster has the kinds of the Prometheus operator."""

    @property
    def helm(self) -> Helm:
        """Return Helm for the cluster."""
        return Helm(self.kube)

    @property
    def runner(self) -> Runner:
        """Return a runner of scripts in pods of the serving image, which has Python."""
        return Runner(self.kube, self.images.serving.reference)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Return every namespace of this run."""
        return self.platform, self.serving, self.outsider

    @property
    def mlflow_url(self) -> str:
        """Return MLflow's address for pods in any namespace."""
        return f"http://mlflow.{self.platform}:5000"

    @property
    def s3_url(self) -> str:
        """Return MinIO's address for pods in any namespace."""
        return f"http://minio.{self.platform}:9000"

    def minio_release(self) -> Release:
        """Return MinIO, with the chart's default buckets and users."""
        of_serving = {**_in(self.serving), "podSelector": {"matchLabels": {"app.kubernetes.io/name": "model-serving"}}}
        own = {"key": "app.kubernetes.io/name", "operator": "In", "values": ["mlflow", "postgres", "training"]}
        values = {
            "storage": {"size": "1Gi"},
            "networkPolicy": {
                "monitoringNamespace": self.outsider,
                "allowFrom": [{"podSelector": {"matchExpressions": [own]}}, of_serving],
            },
            **({"guard": {"image": self.images.haproxy.values}} if self.images.haproxy else {}),
        }
        return self._release("minio", values)

    def postgres_release(self, name: str = "postgres", values: Mapping[str, Any] | None = None) -> Release:
        """Return Postgres with its backups in MinIO. It lets in training, whose policy allows egress to its data."""
        clients = [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": app}}} for app in ("mlflow", "training")]
        base = {
            "storage": {"size": "1Gi"},
            "backup": {"s3": {"endpointUrl": self.s3_url, "prefix": "postgres"}, "scratchSize": "256Mi"},
            "networkPolicy": {"egress": [self._to("minio", 9000)], "allowFrom": clients},
        }
        return self._release("postgres", {**base, **(values or {})}, name=name, monitored=False)

    def mlflow_release(self, name: str = "mlflow", values: Mapping[str, Any] | None = None) -> Release:
        """Return MLflow with that Postgres and that MinIO."""
        asking = {"podSelector": {"matchLabels": ASKS_MLFLOW}}
        base = {
            "image": self.images.mlflow.values,
            "artifacts": {"endpointUrl": self.s3_url},
            "networkPolicy": {
                "monitoringNamespace": self.outsider,
                "allowFrom": [{**_in(self.platform), **asking}, {**_in(self.serving), **asking}],
                "egress": [self._to("postgres", 5432), self._to("minio", 9000)],
            },
        }
        return self._release("mlflow", {**base, **(values or {})}, name=name)

    def training_release(
        self, model: str = "iris", changes: Mapping[str, Any] | None = None, *, name: str = "", keys: str = "s3-mlflow"
    ) -> Release:
        """Return the CronJob of a model of this repository, with changes to its file.

        Data in Postgres is read with the login in the Secret `TABLES_LOGIN`.
        """
        said = yaml.safe_load((_MODELS / model / "training.yaml").read_text(encoding="utf-8"))
        values = {
            "image": self.images.training.values,
            "name": model,
            "training": yaml.safe_dump({**said, **(changes or {})}, sort_keys=False),
            "registry": {"uri": self.mlflow_url},
            "s3": {"endpointUrl": self.s3_url, "existingSecret": keys},
            "networkPolicy": {"egress": [self._to("mlflow", 5000), self._to("minio", 9000)]},
            "backoffLimit": 0,
        }
        if str((changes or {}).get("data")).startswith("postgresql"):
            values["data"] = {"existingSecret": TABLES_LOGIN, "egress": [self._to("postgres", 5432)]}
        return self._release("training", values, name=name or f"training-{model}", monitored=False)

    def observability_release(self) -> Release:
        """Return rules and dashboards."""
        return self._release("observability", {"rules": {"enabled": self.monitors}}, monitored=False)

    def serving_release(
        self, model: Mapping[str, Any], values: Mapping[str, Any] | None = None, name: str = "serving"
    ) -> Release:
        """Return the prediction API for a `model` value: the pins of a version, or an alias to follow."""
        base = {
            "image": self.images.serving.values,
            "model": dict(model),
            "registry": {"uri": self.mlflow_url},
            "s3": {"endpointUrl": self.s3_url},
            "networkPolicy": {
                "monitoringNamespace": self.outsider,
                "allowFrom": [{"podSelector": {"matchLabels": CLIENT}}],
                "registryEgress": [self._to("mlflow", 5000)],
                "egress": [self._to("minio", 9000)],
            },
            "autoscaling": {
                "minReplicas": 2,
                "maxReplicas": 3,
                "targetCPU": "200m",
                "scaleDownStabilizationSeconds": 15,
            },
            "rollout": {"progressDeadlineSeconds": 45},
            "smoke": {"alias": "staging"},
        }
        return self._release("model-serving", {**base, **(values or {})}, name=name, namespace=self.serving)

    def registry(self) -> Registry:
        """Read the content of MLflow from a pod of the platform."""
        answer = self.runner.ask(self.registry_script())
        return msgspec.convert(answer, Registry)

    def registry_script(self) -> Script:
        """Return the script that `registry` runs."""
        name = f"ask-registry-{secrets.token_hex(3)}"
        question = {"url": self.mlflow_url}
        return Script(name, self.platform, "registry.py", question, ASKS_MLFLOW, _ASKING)

    def objects(self, spoil: str = "") -> dict[str, int]:
        """Count the objects in MLflow's bucket. If `spoil` names one, change it first, as the store's root user."""
        return self._asked_of_bucket({"spoil": spoil} if spoil else {})

    def put_object(self, key: str, text: str) -> None:
        """Write a text to MLflow's bucket as the store's root user. An empty text deletes the object."""
        self._asked_of_bucket({"put": key, "text": text})

    def _asked_of_bucket(self, change: Values) -> dict[str, int]:
        question = {"endpoint": self.s3_url, "bucket": BUCKET, **change}
        labels = {"app.kubernetes.io/name": "training"}
        name = f"look-at-bucket-{secrets.token_hex(3)}"
        boto3 = Runner(self.kube, self.images.training.reference)
        answer: dict[str, int] = boto3.ask(Script(name, self.platform, "objects.py", question, labels, "s3-root"))
        return answer

    def forged_backup(self, *, remove: bool = False) -> None:
        """Write a forged backup, which is then the newest, with the keys of the backups' user; or remove it."""
        question = {
            "endpoint": self.s3_url, "bucket": "backups", "prefix": "postgres", "name": "2999-01-01T00-00-00Z.dump",
            "remove": remove,
        }  # fmt: skip
        labels = {"app.kubernetes.io/name": "training"}
        boto3 = Runner(self.kube, self.images.training.reference)
        name = f"forge-backup-{secrets.token_hex(3)}"
        boto3.ask(Script(name, self.platform, "forge_backup.py", question, labels, "s3-backup"))

    def predict(self, service: str = "serving", further: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
        """Request a prediction and the served version, also of further models, in a pod that may call the Service."""
        question = {"url": f"http://{service}.{self.serving}", "features": ROW, "further": list(further)}
        name = f"predict-{secrets.token_hex(3)}"
        answer: dict[str, dict[str, Any]] = self.runner.ask(Script(name, self.serving, "predict.py", question, CLIENT))
        return answer

    def load(self, *, rate: float, workers: int = 8, rows: int = 1) -> Script:
        """Return the script of a load on the serving Service."""
        question = {
            "url": f"http://serving.{self.serving}/predict", "rate": rate, "workers": workers, "rows": rows,
            "features": ROW, "seconds": 300,
        }  # fmt: skip
        return Script(f"load-{secrets.token_hex(3)}", self.serving, "load.py", question, CLIENT)

    def serving_pods(self, name: str = "serving") -> list[Manifest]:
        """Return the pods of a serving release."""
        labels = {"app.kubernetes.io/instance": name, "app.kubernetes.io/component": "server"}
        return self.kube.items(self.serving, "pods", labels)

    def ready_pods(self) -> int:
        """Count the pods of the serving release that are ready."""
        return sum(map(ready, self.serving_pods()))

    def wait_enough_pods(self) -> None:
        """Wait until the minimum number of serving pods is ready."""
        self.kube.wait(
            "two pods are ready",
            lambda: self.ready_pods() >= 2,
            seconds=60, namespace=self.serving, names=("serving",),
        )  # fmt: skip

    def rows(self, release: str = "postgres", database: str = "mlflow") -> dict[str, int]:
        """Count the rows of every table as the database's superuser, who can connect only inside the pod."""
        names = self.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", release, database).split()
        query = " UNION ALL ".join(f'SELECT count(*) FROM public."{name}"' for name in names)  # noqa: S608  its own names
        counts = self.sql(query, release, database).split() if names else []
        return {name: int(count) for name, count in sorted(zip(names, counts, strict=True))}

    def sql(self, query: str, release: str = "postgres", database: str = "postgres") -> str:
        """Run a query as the superuser in the server's pod, and return psql's output."""
        psql = [
            "psql",
            "-h",
            "/var/run/postgresql",
            "-U",
            "postgres",
            "-d",
            database,
            "-v",
            "ON_ERROR_STOP=1",
            "-tAc",
            query,
        ]
        return self.kube.run("exec", "-n", self.platform, f"{release}-0", "-c", "postgres", "--", *psql)

    def _release(
        self, chart: str, values: Values, *, name: str = "", namespace: str = "", monitored: bool = True
    ) -> Release:
        monitoring = {"serviceMonitor": {"enabled": self.monitors}} if monitored else {}
        return Release(name or chart, chart, namespace or self.platform, {**monitoring, **values})

    def _to(self, app: str, port: int) -> Values:
        peer = {**_in(self.platform), "podSelector": {"matchLabels": {"app.kubernetes.io/name": app}}}
        return {"to": [peer], "ports": [{"port": port}]}


def told(load: Mapping[str, Any]) -> str:
    """Return the result of `Stack.load` as a sentence."""
    by = ", ".join(f"{count} by version {version}" for version, count in load["versions"].items())
    return (
        f"{load['sent']} requests sent in {load['seconds']} s ({load['rate']}/s), {load['dropped']} dropped; "
        f"answered {by}; p50 {load['p50_ms']} ms, p99 {load['p99_ms']} ms, "
        f"longest time without an answer {load['longest_gap_ms']} ms"
    )


def create(kube: Kube, images: Images, *, monitors: bool) -> Stack:
    """Make the namespaces, with Secrets of random values under the charts' default names."""
    prefix = f"charts-e2e-{secrets.token_hex(2)}"
    stack = Stack(kube, images, f"{prefix}-platform", f"{prefix}-serving", f"{prefix}-outsider", monitors)
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    kube.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        for name in stack.namespaces
    )
    kube.apply([*(scripts_config_map(name) for name in stack.namespaces), *_secrets(stack)])
    return stack


def _secrets(stack: Stack) -> list[Manifest]:
    def password() -> str:
        return secrets.token_urlsafe(24)

    def keys() -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": secrets.token_hex(8), "AWS_SECRET_ACCESS_KEY": password()}

    database, root, reader = password(), {"user": "root-" + secrets.token_hex(4), "password": password()}, keys()
    writer = keys()
    users = {f"mlflow-{name}": {"username": name, "password": password()} for name in _MLFLOW_USERS}
    asking = users["mlflow-gitops"]
    uri = f"postgresql+psycopg://mlflow:{database}@postgres.{stack.platform}:5432/mlflow"
    wrong_uri = uri.replace(database, "not-the-password")
    platform = {
        "postgres-auth": {
            "postgres-password": password(), "mlflow-username": "mlflow", "mlflow-password": database,
        },
        "postgres-backup-key": {"hmac-key": password()},
        "mlflow-database": {"uri": uri},
        "database-wrong": {"uri": wrong_uri},
        "mlflow-auth": {"username": "admin", "password": password(), "flask-secret-key": password()},
        **users,
        _ASKING: {"MLFLOW_TRACKING_USERNAME": asking["username"], "MLFLOW_TRACKING_PASSWORD": asking["password"]},
        "minio-root": {"root-user": root["user"], "root-password": root["password"]},
        "s3-root": {"AWS_ACCESS_KEY_ID": root["user"], "AWS_SECRET_ACCESS_KEY": root["password"]},
        "s3-mlflow": keys(),
        "s3-serving": reader,
        "s3-backup": keys(),
        "s3-predictions": writer,
        "s3-wrong-training": keys(),
        "s3-wrong-backup": keys(),
    }  # fmt: skip
    copied = {name: users[name] for name in ("mlflow-serving", "mlflow-smoke")}
    serving = {"s3-serving": reader, "s3-predictions": writer, "s3-wrong-serving": keys(), **copied}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": data}
        for namespace, named in ((stack.platform, platform), (stack.serving, serving))
        for name, data in named.items()
    ]


def _in(namespace: str) -> Values:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}

"""The Secrets that charts expect and git never holds: random values, never overwritten, never shown."""

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import quote

from msgspec import Struct

from gitops.errors import BadInputError
from gitops.platform.model import MONITORING, PIPELINE, Environment, Platform
from gitops.rendering.manifests import Manifest

PULL_SECRET = "registry-credentials"  # noqa: S105  its name, not its content
DOCKER_CONFIG = ".dockerconfigjson"
OWNED = {"app.kubernetes.io/part-of": "ml-pipeline", "app.kubernetes.io/managed-by": "gitops"}
# Only letters and digits, so that a value needs no escaping in an address, a shell or an INI file.
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# The longest that MinIO accepts.
_LENGTH = 40
# The usual form of an access key id in S3. It is kept secret too: MinIO once let in everyone who knew an id.
_ID_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_ID_LENGTH = 20
# Shorter ids count as guessable. It is not longer, because people may choose their own, such as 16 hexadecimal digits.
_GUESSABLE_BELOW = 16
KEY_ID = "AWS_ACCESS_KEY_ID"
SECRET_KEY = "AWS_SECRET_ACCESS_KEY"  # noqa: S105  its name, not its content
MLFLOW_USER = "username"
MLFLOW_PASSWORD = "password"  # noqa: S105  as above


class Fixed(Struct, frozen=True):
    """A value that is not secret, such as a user name."""

    text: str


class Random(Struct, frozen=True):
    """A random password or secret key."""


class RandomId(Struct, frozen=True):
    """A random access key id."""


class Copied(Struct, frozen=True):
    """A copy of the value of a key in another Secret of `ml-pipeline`."""

    secret: str
    key: str


class Composed(Struct, frozen=True):
    """An address: a format string, and the values for its places, which are percent-encoded."""

    form: str
    parts: tuple[Copied, ...]


Value = Fixed | Random | RandomId | Copied | Composed


class BootstrapSecret(Struct, frozen=True, kw_only=True):
    """A Secret that bootstrap creates: `keys` says how to make each of its values.

    `volume` is a claim whose data only these values open. If the claim exists and the Secret does not, a new Secret
    would lock out everybody.
    """

    namespace: str
    name: str
    keys: Mapping[str, Value]
    volume: str = ""
    type: str = "Opaque"

    @property
    def title(self) -> str:
        """Return namespace and name."""
        return f"{self.namespace}/{self.name}"


def _s3_user(name: str) -> BootstrapSecret:
    keys: dict[str, Value] = {KEY_ID: RandomId(), SECRET_KEY: Random()}
    return BootstrapSecret(namespace=PIPELINE, name=f"s3-{name}", keys=keys)


def _copy_to(namespace: str, original: BootstrapSecret) -> BootstrapSecret:
    keys = {key: Copied(original.name, key) for key in original.keys}
    return BootstrapSecret(namespace=namespace, name=original.name, keys=keys)


def _pull_secret(namespace: str) -> BootstrapSecret:
    """Return the pull Secret with an empty list: pods name it even if there are no credentials."""
    keys: dict[str, Value] = {DOCKER_CONFIG: Fixed(json.dumps({"auths": {}}))}
    return BootstrapSecret(namespace=namespace, name=PULL_SECRET, keys=keys, type="kubernetes.io/dockerconfigjson")


def _mlflow_user(name: str) -> BootstrapSecret:
    keys: dict[str, Value] = {MLFLOW_USER: Fixed(name), MLFLOW_PASSWORD: Random()}
    return BootstrapSecret(namespace=PIPELINE, name=f"mlflow-{name}", keys=keys)


# Users of the store whose keys each environment has a copy of: for reading models, and for writing the prediction log.
S3_COPIED = (_s3_user("serving"), _s3_user("predictions"))
S3_USERS = (_s3_user("mlflow"), _s3_user("backup"), *S3_COPIED)
MINIO_ROOT = BootstrapSecret(
    namespace=PIPELINE, name="minio-root", keys={"root-user": RandomId(), "root-password": Random()}
)
_MLFLOW_DATABASE: dict[str, Value] = {
    "uri": Composed(
        f"postgresql+psycopg://{{}}:{{}}@postgres.{PIPELINE}:5432/mlflow",
        (Copied("postgres-auth", "mlflow-username"), Copied("postgres-auth", "mlflow-password")),
    )
}
MLFLOW_ADMIN = BootstrapSecret(
    namespace=PIPELINE,
    name="mlflow-auth",
    keys={MLFLOW_USER: Fixed("admin"), MLFLOW_PASSWORD: Random(), "flask-secret-key": Random()},
)
MLFLOW_GITOPS = _mlflow_user("gitops")
_MLFLOW_SERVING, _MLFLOW_SMOKE = _mlflow_user("serving"), _mlflow_user("smoke")
# The Secrets that each environment has a copy of.
COPIED = (*S3_COPIED, _MLFLOW_SERVING, _MLFLOW_SMOKE)
# The Secrets that environments share, each after those that it takes values from.
_SHARED: tuple[BootstrapSecret, ...] = (
    BootstrapSecret(
        namespace=PIPELINE,
        name="postgres-auth",
        keys={"postgres-password": Random(), "mlflow-username": Fixed("mlflow"), "mlflow-password": Random()},
        volume="data-postgres-0",
    ),
    # Separate from the keys of the store, because someone who has those must not be able to sign backups.
    BootstrapSecret(namespace=PIPELINE, name="postgres-backup-key", keys={"hmac-key": Random()}),
    BootstrapSecret(namespace=PIPELINE, name="mlflow-database", keys=_MLFLOW_DATABASE),
    MLFLOW_ADMIN,
    _mlflow_user("training"),
    MLFLOW_GITOPS,
    _MLFLOW_SERVING,
    _MLFLOW_SMOKE,
    MINIO_ROOT,
    *S3_USERS,
    BootstrapSecret(
        namespace=MONITORING, name="grafana-admin", keys={"admin-user": Fixed("admin"), "admin-password": Random()}
    ),
    _pull_secret(PIPELINE),
)


def bootstrap_secrets(platform: Platform, cluster: str = "") -> tuple[BootstrapSecret, ...]:
    """Return the Secrets that bootstrap creates in a cluster, each after those that it takes values from.

    Args:
        platform: The content of platform.yaml.
        cluster: A name under `clusters`; empty means Argo CD's cluster, which also has the shared parts.
    """
    copies = tuple(
        secret
        for environment in platform.environments
        if environment.cluster == cluster
        for secret in environment_secrets(environment)
    )
    return copies if cluster else (*_SHARED, *copies)


def environment_secrets(environment: Environment) -> tuple[BootstrapSecret, ...]:
    """Return the Secrets that the pods of an environment need in its namespace."""
    copies = [_copy_to(environment.where, original) for original in COPIED]
    return *copies, _pull_secret(environment.where)


class SecretStore(Protocol):
    """What `make_secrets` needs of a cluster."""

    def find(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        """Return one object, or None."""

    def create(self, manifest: Manifest) -> bool:
        """Create an object unless it exists; return whether it was created."""


class Made(Struct, frozen=True, kw_only=True):
    """The Secrets by outcome, as `namespace/name`; `stale` ones differ from the Secret that they copy."""

    made: list[str]
    kept: list[str]
    stale: list[str]


def make_secrets(store: SecretStore, wanted: tuple[BootstrapSecret, ...], shared: SecretStore | None = None) -> Made:
    """Create the Secrets that do not exist; existing ones are not changed.

    Args:
        store: The cluster to create them in.
        wanted: The result of `bootstrap_secrets` for that cluster.
        shared: The cluster that has the originals of copies in its `ml-pipeline`, if it is another one.

    Raises:
        BadInputError: A Secret lacks a key, or it does not exist but its data does.
    """
    made: list[str] = []
    kept: list[str] = []
    stale: list[str] = []
    known = _originals(shared) if shared else {}
    for spec in wanted:
        present = store.find("secrets", spec.name, spec.namespace)
        if present is None:
            _refuse_lockout(store, spec)
            values = {key: _value(value, known) for key, value in spec.keys.items()}
            if store.create(_manifest(spec, values)):
                made.append(spec.title)
            else:  # Another process created it meanwhile; its values count.
                present = store.find("secrets", spec.name, spec.namespace)
        if present is not None:
            values = _checked(present, spec)
            kept.append(spec.title)
            if any(
                isinstance(value, Copied | Composed) and values[key] != _value(value, known)
                for key, value in spec.keys.items()
            ):
                stale.append(spec.title)
        if spec.namespace == PIPELINE:
            known |= {(spec.name, key): value for key, value in values.items()}
    return Made(made=made, kept=kept, stale=stale)


def random_id() -> str:
    """Return an access key id: 20 capital letters and digits."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))


def random_secret() -> str:
    """Return a password or secret key: 40 letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def guessable(store: SecretStore) -> list[str]:
    """Return the Secrets of the store's users with guessable ids, which earlier versions made: `namespace/name`."""
    found = []
    for spec in (MINIO_ROOT, *S3_USERS):
        values = decoded(store.find("secrets", spec.name, spec.namespace) or {})
        id_key = next(iter(spec.keys))
        if 0 < len(values.get(id_key, "")) < _GUESSABLE_BELOW:
            found.append(spec.title)
    return found


def decoded(secret: Manifest) -> dict[str, str]:
    """Return the decoded values of a Secret."""
    data = secret.get("data") or {}
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}


def encoded(values: Mapping[str, str]) -> dict[str, str]:
    """Return the `data` of a Secret with these values."""
    return {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}


def docker_config(registry: str, user: str, password: str) -> str:
    """Return the content of a pull Secret for one registry."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    entry = {"username": user, "password": password, "auth": token}
    return json.dumps({"auths": {registry.partition("/")[0]: entry}})


def secret_manifest(
    namespace: str,
    name: str,
    values: Mapping[str, str],
    *,
    labels: Mapping[str, str] | None = None,
    type_: str = "Opaque",
) -> Manifest:
    """Return a Secret with the labels of bootstrap."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {**OWNED, **(labels or {})}},
        "type": type_,
        "data": encoded(values),
    }


def is_secret(entry: Manifest, name: str) -> bool:
    """Whether an object is the Secret with this name."""
    return bool(entry.get("kind") == "Secret" and entry["metadata"]["name"] == name)


def filled_in(objects: Sequence[Manifest], name: str, values: Mapping[str, str]) -> list[Manifest]:
    """Return the objects, with values set in the Secret with this name."""
    return [entry | {"data": encoded(values)} if is_secret(entry, name) else entry for entry in objects]


def _manifest(spec: BootstrapSecret, values: Mapping[str, str]) -> Manifest:
    return secret_manifest(spec.namespace, spec.name, values, type_=spec.type)


def _originals(shared: SecretStore) -> dict[tuple[str, str], str]:
    known: dict[tuple[str, str], str] = {}
    for spec in COPIED:
        present = shared.find("secrets", spec.name, spec.namespace)
        if present is None:
            raise BadInputError(
                f"The Secret {spec.title} does not exist, so it cannot be copied: run bootstrap in the cluster of "
                "Argo CD."
            )
        known |= {(spec.name, key): value for key, value in _checked(present, spec).items()}
    return known


def _value(value: Value, known: Mapping[tuple[str, str], str]) -> str:
    match value:
        case Fixed(text):
            return text
        case Random():
            return random_secret()
        case RandomId():
            return random_id()
        case Copied(secret, key):
            return known[secret, key]
        case Composed(form, parts):
            return form.format(*(quote(_value(part, known), safe="") for part in parts))


def _checked(present: Manifest, spec: BootstrapSecret) -> dict[str, str]:
    values = decoded(present)
    if missing := [key for key in spec.keys if key not in values]:
        raise BadInputError(
            f"The Secret {spec.title} lacks the key {missing[0]!r}: add it, or delete the Secret if nothing depends on "
            "it yet, and run bootstrap again."
        )
    return values


def _refuse_lockout(store: SecretStore, spec: BootstrapSecret) -> None:
    if spec.volume and store.find("persistentvolumeclaims", spec.volume, spec.namespace) is not None:
        raise BadInputError(
            f"The Secret {spec.title} is missing, but the volume {spec.namespace}/{spec.volume} still holds data that "
            f"only its passwords open. Restore the Secret, or give up the data: kubectl --namespace {spec.namespace} "
            f"delete persistentvolumeclaim {spec.volume}."
        )

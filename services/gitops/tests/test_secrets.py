"""The Secrets of bootstrap: complete, random, consistent with each other, and never overwritten."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.cluster.secrets import (
    BootstrapSecret,
    bootstrap_secrets,
    decoded,
    docker_config,
    guessable,
    make_secrets,
    secret_manifest,
)
from gitops.errors import BadInputError
from gitops.platform.model import Cluster, Environment, Platform, Registry
from gitops.rendering.manifests import Manifest

PLATFORM = Platform(
    repository="https://git.example.com/flora/petals.git",
    registry=Registry(prefix="registry.example.com/flora/petals"),
    environments=[
        Environment(name="staging"),
        Environment(name="production", source="staging", namespace="shop"),
        Environment(name="eu", source="staging", cluster="west"),
    ],
    clusters={"west": Cluster(server="https://10.0.0.5:6443", s3="https://s3.example.com")},
)
SECRETS = bootstrap_secrets(PLATFORM)


class Store:
    """Secrets and volume claims in memory, as in the API server."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Manifest] = {}

    def find(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        return self.objects.get((kind, namespace or "", name))

    def create(self, manifest: Manifest) -> bool:
        key = ("secrets", manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        made = key not in self.objects
        self.objects.setdefault(key, manifest)
        return made

    def values(self, title: str) -> dict[str, str]:
        namespace, _, name = title.partition("/")
        return decoded(self.objects["secrets", namespace, name])

    def put(self, spec: BootstrapSecret, values: dict[str, str]) -> None:
        self.create(secret_manifest(spec.namespace, spec.name, values))


def test_every_secret_has_every_key_and_they_are_consistent() -> None:
    store = Store()
    made = make_secrets(store, SECRETS)
    assert made.made == [spec.title for spec in SECRETS]
    for spec in SECRETS:
        values = store.values(spec.title)
        assert values.keys() == spec.keys.keys()
        assert all(values.values())
    auth = store.values("ml-pipeline/postgres-auth")
    assert store.values("ml-pipeline/mlflow-database")["uri"] == (
        f"postgresql+psycopg://mlflow:{auth['mlflow-password']}@postgres.ml-pipeline:5432/mlflow"
    )
    serving = store.values("ml-pipeline/s3-serving")
    assert store.values("ml-pipeline-staging/s3-serving") == serving
    assert store.values("shop/s3-serving") == serving
    for user in ("mlflow-serving", "mlflow-smoke"):
        assert store.values(f"ml-pipeline-staging/{user}") == store.values(f"ml-pipeline/{user}")
    # The keys for training and administration are not in namespaces of environments.
    assert not [spec.title for spec in SECRETS if spec.name == "mlflow-training" and spec.namespace != "ml-pipeline"]
    assert not [spec.title for spec in SECRETS if spec.name == "mlflow-auth" and spec.namespace != "ml-pipeline"]


def test_another_cluster_gets_only_copies_for_its_environments() -> None:
    here, there = Store(), Store()
    wanted = bootstrap_secrets(PLATFORM, "west")
    with pytest.raises(BadInputError, match="ml-pipeline/s3-serving does not exist, so it cannot be copied"):
        make_secrets(there, wanted, here)
    make_secrets(here, SECRETS)
    made = make_secrets(there, wanted, here)
    copied = ["s3-serving", "s3-predictions", "mlflow-serving", "mlflow-smoke"]
    assert made.made == [f"ml-pipeline-eu/{name}" for name in (*copied, "registry-credentials")]
    for name in copied:
        assert there.values(f"ml-pipeline-eu/{name}") == here.values(f"ml-pipeline/{name}")
    assert not [key for key in here.objects if key[1] == "ml-pipeline-eu"]


def test_all_passwords_differ_also_between_clusters() -> None:
    first, second = Store(), Store()
    make_secrets(first, SECRETS)
    make_secrets(second, SECRETS)
    passwords = [
        value
        for store in (first, second)
        for spec in SECRETS
        for key, value in store.values(spec.title).items()
        if ("password" in key or "SECRET" in key) and spec.namespace in ("ml-pipeline", "monitoring")
    ]
    assert len(set(passwords)) == len(passwords)
    # MinIO accepts ids of 3 to 20 and secrets of 8 to 40 characters, MLflow passwords from 12 characters.
    assert all(12 <= len(password) <= 40 for password in passwords)


def test_access_key_ids_are_random() -> None:
    """In some versions of MinIO, someone who knows an id can write."""
    first, second = Store(), Store()
    make_secrets(first, SECRETS)
    make_secrets(second, SECRETS)
    ids = [
        store.values(title)[key]
        for store in (first, second)
        for title, key in (
            ("ml-pipeline/minio-root", "root-user"),
            *(
                (f"ml-pipeline/s3-{user}", "AWS_ACCESS_KEY_ID")
                for user in ("mlflow", "serving", "predictions", "backup")
            ),
        )
    ]
    assert len(set(ids)) == 10
    assert all(re.fullmatch("[A-Z0-9]{20}", value) for value in ids)
    assert guessable(first) == []
    first.objects["secrets", "ml-pipeline", "s3-backup"] = secret_manifest(
        "ml-pipeline", "s3-backup", {"AWS_ACCESS_KEY_ID": "backup", "AWS_SECRET_ACCESS_KEY": "x"}
    )
    assert guessable(first) == ["ml-pipeline/s3-backup"]


def test_existing_secrets_are_not_changed() -> None:
    store = Store()
    make_secrets(store, SECRETS)
    before = dict(store.objects)
    again = make_secrets(store, SECRETS)
    assert again.made == []
    assert again.kept == [spec.title for spec in SECRETS]
    assert again.stale == []
    assert store.objects == before


@settings(max_examples=20)
@given(password=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20))
def test_a_persons_password_is_escaped_in_the_address(password: str) -> None:
    store = Store()
    values = {"postgres-password": "x", "mlflow-username": "mlflow", "mlflow-password": password}
    store.put(SECRETS[0], values)
    made = make_secrets(store, SECRETS)
    assert made.kept == ["ml-pipeline/postgres-auth"]
    uri = store.values("ml-pipeline/mlflow-database")["uri"]
    host = uri.removeprefix("postgresql+psycopg://mlflow:").partition("@")[2]
    assert host == "postgres.ml-pipeline:5432/mlflow"
    assert store.values("ml-pipeline/postgres-auth") == values


def test_an_outdated_copy_is_named_and_not_changed() -> None:
    store = Store()
    make_secrets(store, SECRETS)
    old = {"AWS_ACCESS_KEY_ID": "serving", "AWS_SECRET_ACCESS_KEY": "an earlier one"}
    del store.objects["secrets", "ml-pipeline-staging", "s3-serving"]
    store.create(secret_manifest("ml-pipeline-staging", "s3-serving", old))
    assert make_secrets(store, SECRETS).stale == ["ml-pipeline-staging/s3-serving"]
    assert store.values("ml-pipeline-staging/s3-serving") == old


def test_a_secret_without_a_key_is_refused_by_name() -> None:
    store = Store()
    store.create(secret_manifest("ml-pipeline", "postgres-auth", {"postgres-password": "x"}))
    with pytest.raises(BadInputError, match=r"ml-pipeline/postgres-auth lacks the key 'mlflow-username'"):
        make_secrets(store, SECRETS)


def test_a_lost_secret_is_not_replaced_while_its_data_exists() -> None:
    store = Store()
    store.objects["persistentvolumeclaims", "ml-pipeline", "data-postgres-0"] = {}
    with pytest.raises(BadInputError, match="data-postgres-0 still holds data"):
        make_secrets(store, SECRETS)
    assert not [key for key in store.objects if key[0] == "secrets"]


def test_a_secret_that_another_process_created_meanwhile_is_kept() -> None:
    class Raced(Store):
        """Another process creates each Secret between the check and the creation."""

        def create(self, manifest: Manifest) -> bool:
            name = manifest["metadata"]["name"]
            if name == "postgres-auth":
                theirs = {"postgres-password": "a", "mlflow-username": "b", "mlflow-password": "c"}
                manifest = secret_manifest("ml-pipeline", name, theirs)
                super().create(manifest)
                return False
            return super().create(manifest)

    store = Raced()
    made = make_secrets(store, SECRETS)
    assert made.kept == ["ml-pipeline/postgres-auth"]
    assert store.values("ml-pipeline/mlflow-database")["uri"].startswith("postgresql+psycopg://b:c@")


def test_a_pull_secret_names_the_registry_without_its_path() -> None:
    config = json.loads(docker_config("127.0.0.1:5000/flora/petals", "ada", "s3cret"))
    assert config == {
        "auths": {"127.0.0.1:5000": {"username": "ada", "password": "s3cret", "auth": "YWRhOnMzY3JldA=="}}
    }

"""Secrets from the user's own store: bootstrap writes ExternalSecrets for the operator, and creates none itself."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gitops.cli import execute
from gitops.cluster.bootstrap import Bootstrap, Options
from gitops.cluster.external import API, KINDS, external_secrets, remotes, wanted
from gitops.cluster.rotation import Rotation
from gitops.cluster.secrets import PULL_SECRET, decoded, encoded
from gitops.documents import loaded_all
from gitops.errors import BadInputError, NotConvergedError
from gitops.git.repository import Repository
from gitops.platform.model import Cluster as Elsewhere
from gitops.platform.model import Environment, Platform, Registry
from gitops.platform.reader import load_platform
from gitops.rendering.manifests import Manifest
from gitops.terminal import Terminal
from services.gitops.tests.memory_cluster import MemoryCluster
from services.gitops.tests.test_bootstrap import adopted

__all__ = ["adopted"]  # a fixture

TEXT = {"type": "string"}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def closed(required: Sequence[str] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


# The part of external-secrets.io/v1 that is used here, from config/crds/bases of release 1.3.2.
SCHEMA = closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "external-secrets.io/v1"},
    kind={"const": "ExternalSecret"},
    metadata=closed(["name", "namespace"], name=TEXT, namespace=TEXT, labels=TEXTS),
    spec=closed(
        ["secretStoreRef", "target", "data"],
        refreshInterval={"type": "string", "pattern": "^[0-9]+(s|m|h)$"},
        secretStoreRef=closed(
            ["name"],
            name={"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"},
            kind={"enum": ["SecretStore", "ClusterSecretStore"]},
        ),
        target=closed(
            creationPolicy={"enum": ["Owner", "Orphan", "Merge", "None"]},
            deletionPolicy={"enum": ["Delete", "Merge", "Retain"]},
            template=closed(type=TEXT, engineVersion={"const": "v2"}, metadata=closed(labels=TEXTS), data=TEXTS),
        ),
        data={
            "type": "array",
            "items": closed(
                ["secretKey", "remoteRef"],
                secretKey={"type": "string", "pattern": r"^[-._a-zA-Z0-9]{1,253}$"},
                remoteRef=closed(["key"], key={"type": "string", "pattern": "^[a-z0-9-]+$"}, property=TEXT),
            ),
        },
    ),
)


class Operated(MemoryCluster):
    """A cluster with the External Secrets operator and a store with `entries`."""

    def __init__(self, entries: dict[tuple[str, str], str]) -> None:
        super().__init__()
        self.entries = entries
        self.put("customresourcedefinitions", {"metadata": {"name": KINDS}})

    def apply(self, objects: Sequence[Manifest]) -> None:
        super().apply(objects)
        for entry in objects:
            if (entry["apiVersion"], entry["kind"]) == (API, "ExternalSecret"):
                self._reconcile(entry)

    def _reconcile(self, entry: Manifest) -> None:
        metadata, spec = entry["metadata"], entry["spec"]
        values = {}
        for each in spec["data"]:
            remote = each["remoteRef"]
            if (remote["key"], remote["property"]) not in self.entries:
                status = {"conditions": [{"type": "Ready", "message": f"no secret {remote['key']} in the store"}]}
                self.put("externalsecrets", {**entry, "status": status})
                return
            values[each["secretKey"]] = self.entries[remote["key"], remote["property"]]
        if templates := spec["target"]["template"].get("data"):
            values = {key: filled(text, values) for key, text in templates.items()}
        owner = {"kind": "ExternalSecret", "name": metadata["name"]}
        made = {"name": metadata["name"], "namespace": metadata["namespace"], "ownerReferences": [owner]}
        super().apply([{"apiVersion": "v1", "kind": "Secret", "metadata": made, "data": encoded(values)}])


def filled(template: str, values: dict[str, str]) -> str:
    """Fill the only form of Go template that is used: a value by its name, optionally escaped."""
    escape = '(?: \\| urlquery \\| replace "\\+" "%20")?'
    return re.sub(rf'\{{\{{ index \. "([^"]+)"{escape} \}}\}}', lambda found: values[found[1]], template)


def all_entries(tree: Path) -> dict[tuple[str, str], str]:
    held = remotes(load_platform(tree))
    return {(entry, name): f"{entry}.{name}" for entry, properties in held.items() for name in properties}


def bootstrap(tree: Path, cluster: MemoryCluster, **options: Any) -> None:
    wanted = Options(**{"minutes": 1, "secret_store": "vault", **options})
    Bootstrap(Repository(tree), cluster, Terminal(), wanted).run()


def test_each_external_secret_fits_the_operators_schema() -> None:
    platform = Platform(
        repository="https://git.example.com/a/b.git",
        registry=Registry(prefix="registry.example.com/a/b"),
        environments=[Environment(name="staging"), Environment(name="far", source="staging", cluster="west")],
        clusters={"west": Elsewhere(server="https://w", s3="https://s3", mlflow="https://m")},
    )
    found = [entry for name in ("", "west") for entry in external_secrets(platform, "vault", name)]
    assert len(found) > 15
    assert [
        error.message for entry in found for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(entry)
    ] == []
    named = {(entry["metadata"]["namespace"], entry["metadata"]["name"]) for entry in found}
    assert named == {(spec.namespace, spec.name) for name in ("", "west") for spec in wanted(platform, name)}


def test_the_operator_creates_every_secret_and_bootstrap_none(adopted: Path) -> None:
    cluster = Operated(all_entries(adopted))
    bootstrap(adopted, cluster)
    for spec in wanted(load_platform(adopted)):
        values = decoded(cluster.find("secrets", spec.name, spec.namespace) or {})
        assert values.keys() == spec.keys.keys(), spec.title
    database = decoded(cluster.find("secrets", "mlflow-database", "ml-pipeline") or {})["uri"]
    assert database.startswith("postgresql+psycopg://mlflow:ml-pipeline-postgres-auth.mlflow-password@postgres.")
    copies = [cluster.find("secrets", "s3-serving", where) or {} for where in ("ml-pipeline", "ml-pipeline-staging")]
    assert copies[0]["data"] == copies[1]["data"]
    assert cluster.find("secrets", PULL_SECRET, "ml-pipeline-staging")
    # A second run creates none of them again.
    bootstrap(adopted, cluster)


def test_a_missing_entry_is_reported_with_the_operators_message(adopted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gitops.cluster.bootstrap._DEFINITION_PAUSE", 0.01)
    entries = all_entries(adopted)
    del entries["ml-pipeline-s3-backup", "AWS_ACCESS_KEY_ID"]
    with pytest.raises(NotConvergedError, match="ml-pipeline/s3-backup: no secret ml-pipeline-s3-backup in the store"):
        bootstrap(adopted, Operated(entries), minutes=0.0001)


def test_existing_values_are_not_replaced(adopted: Path) -> None:
    cluster = Operated(all_entries(adopted))
    bootstrap(adopted, cluster, secret_store="")
    with pytest.raises(BadInputError, match="put them into the store as ml-pipeline-postgres-auth, delete the Secret"):
        bootstrap(adopted, cluster)


def test_without_the_operator_bootstrap_refuses_to_start(adopted: Path) -> None:
    with pytest.raises(BadInputError, match="install the External Secrets Operator"):
        bootstrap(adopted, MemoryCluster())


def test_rotation_refuses_keys_from_a_secret_store(adopted: Path) -> None:
    cluster = Operated(all_entries(adopted))
    bootstrap(adopted, cluster)
    with pytest.raises(BadInputError, match="change the entry ml-pipeline-minio-root there"):
        Rotation(load_platform(adopted), cluster, Terminal(), minutes=1).run()


def test_the_file_has_all_external_secrets_and_the_terminal_lists_the_entries(
    adopted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--secrets=external", "--secret-store=vault", "--external-secrets-to=found.yaml"]
    assert execute(["bootstrap", *options]) == 0
    assert list(loaded_all((adopted / "found.yaml").read_text())) == external_secrets(load_platform(adopted), "vault")
    said = capsys.readouterr().out
    for entry, properties in remotes(load_platform(adopted)).items():
        assert entry in said
        assert all(name in said for name in properties)
    assert execute(["bootstrap", "--external-secrets-to=found.yaml"]) == 2
    assert "needs --secrets external" in " ".join(capsys.readouterr().err.split())

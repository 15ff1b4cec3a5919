"""Proves on a real MinIO that the minio chart's provisioning does what its README says: users by the ids in their
Secrets, former users gone, and an overwritten object still there."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from embedded.processes import LOOPBACK, free_port
from tests.support import helm
from tests.support.manifests import parse

PROGRAMS = {name: shutil.which(name) for name in ("minio", "mc")}
FILES = helm.CHARTS / "minio" / "files"
SECONDS = 30
pytestmark = pytest.mark.skipif(
    None in PROGRAMS.values(), reason="minio and mc are not on PATH: tools/install minio mc"
)


def keys() -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": secrets.token_hex(10).upper(), "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20)}


class Store(msgspec.Struct, frozen=True):
    """A running server, and the folder with what the Job's pod would mount."""

    folder: Path
    url: str

    def write(self, user: str, values: Mapping[str, str]) -> None:
        """Make the keys of a user's Secret exactly these."""
        shutil.rmtree(self.folder / "users" / user, ignore_errors=True)
        _files(self.folder / "users" / user, values)

    def provision(self, **environment: str) -> str:
        """Run the Job's script with what the chart sets; return what it said."""
        job = next(m for m in self._rendered() if m["kind"] == "Job")
        container = job["spec"]["template"]["spec"]["containers"][0]
        of_chart = {entry["name"]: entry["value"] for entry in container["env"]}
        ours = {
            "MINIO_URL": self.url,
            "USERS_DIR": str(self.folder / "users"),
            "ROOT_DIR": str(self.folder / "root"),
            "POLICIES_DIR": str(self.folder / "policies"),
            "MC_CONFIG_DIR": str(self.folder / "mc"),
            "WAIT_SECONDS": str(SECONDS),
        }
        path = {"PATH": f"{Path(str(PROGRAMS['mc'])).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", FILES / "provision.sh"],
            env=of_chart | ours | path | environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def policies(self) -> None:
        config = next(m for m in self._rendered() if m["kind"] == "ConfigMap")
        policies = {
            name.removeprefix("policy-"): text for name, text in config["data"].items() if name.startswith("policy-")
        }
        _files(self.folder / "policies", policies)

    def client(self, values: Mapping[str, str]) -> Any:
        once = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", config=once,
            aws_access_key_id=values["AWS_ACCESS_KEY_ID"], aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip

    def _rendered(self) -> list[dict[str, Any]]:
        outcome = helm.template("minio", helm.scenarios("minio")[0])
        assert outcome.code == 0, outcome.errors
        return parse(outcome.output)


def _files(folder: Path, contents: Mapping[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, text in contents.items():
        (folder / name).write_text(text)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("minio")
    root, port = keys(), free_port()
    _files(folder / "root", root)
    command = [str(PROGRAMS["minio"]), "server", str(folder / "data"), "--address", f"{LOOPBACK}:{port}", "--quiet"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "MINIO_ROOT_USER": root["AWS_ACCESS_KEY_ID"],
        "MINIO_ROOT_PASSWORD": root["AWS_SECRET_ACCESS_KEY"],
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            store = Store(folder, f"http://{LOOPBACK}:{port}")
            store.policies()
            yield store
        finally:
            process.terminate()


@pytest.fixture
def store(server: Store) -> Store:
    """The server with a new pair of keys in each user's Secret."""
    for user in ("mlflow", "serving", "backup"):
        server.write(user, keys())
    return server


def read_keys(store: Store, user: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in (store.folder / "users" / user).iterdir()}


def refused(store: Store, values: Mapping[str, str]) -> bool:
    try:
        store.client(values).list_objects_v2(Bucket="mlflow")
    except ClientError as error:
        return bool(error.response["Error"]["Code"] == "InvalidAccessKeyId")
    return False


def test_users_have_the_rights_of_their_purpose_under_any_id(store: Store) -> None:
    said = store.provision()
    writer, reader = (store.client(read_keys(store, user)) for user in ("mlflow", "serving"))
    writer.put_object(Bucket="mlflow", Key="a", Body=b"first")
    assert reader.get_object(Bucket="mlflow", Key="a")["Body"].read() == b"first"
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.put_object(Bucket="mlflow", Key="a", Body=b"forged")
    with pytest.raises(ClientError, match="AccessDenied"):
        writer.list_objects_v2(Bucket="backups")
    shown = [value for user in ("mlflow", "serving", "backup") for value in read_keys(store, user).values()]
    assert not [value for value in shown if value in said]


def test_an_id_that_was_changed_opens_nothing_any_more(store: Store) -> None:
    words = {"AWS_ACCESS_KEY_ID": "serving", "AWS_SECRET_ACCESS_KEY": "known-for-long"}
    store.write("serving", words)
    store.provision()
    assert not refused(store, words)
    store.write("serving", keys())
    assert "A former user of policy serving is gone." in store.provision()
    assert refused(store, words)
    assert not refused(store, read_keys(store, "serving"))


def test_while_keys_are_rotated_old_and_new_open_it(store: Store) -> None:
    old, new = read_keys(store, "mlflow"), keys()
    store.write("mlflow", old | {key.replace("AWS", "NEXT"): value for key, value in new.items()})
    store.provision()
    assert not refused(store, old)
    assert not refused(store, new)
    store.write("mlflow", new | {"PREVIOUS_ACCESS_KEY_ID": old["AWS_ACCESS_KEY_ID"]})
    store.provision()
    assert not refused(store, old)
    assert not refused(store, new)
    store.write("mlflow", new)
    store.provision()
    assert refused(store, old)
    assert not refused(store, new)


def test_what_is_overwritten_or_deleted_is_still_there(store: Store) -> None:
    store.provision()
    store.provision()
    writer = store.client(read_keys(store, "mlflow"))
    root = store.client({path.name: path.read_text() for path in (store.folder / "root").iterdir()})
    writer.put_object(Bucket="mlflow", Key="model.onnx", Body=b"pinned")
    writer.put_object(Bucket="mlflow", Key="model.onnx", Body=b"forged")
    writer.delete_object(Bucket="mlflow", Key="model.onnx")
    versions = root.list_object_versions(Bucket="mlflow", Prefix="model.onnx")["Versions"]
    bodies = [
        root.get_object(Bucket="mlflow", Key="model.onnx", VersionId=v["VersionId"])["Body"].read() for v in versions
    ]
    assert sorted(bodies) == [b"forged", b"pinned"]
    with pytest.raises(ClientError, match="AccessDenied"):
        writer.delete_object(Bucket="mlflow", Key="model.onnx", VersionId=versions[0]["VersionId"])
    (rule,) = root.get_bucket_lifecycle_configuration(Bucket="mlflow")["Rules"]
    assert rule["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
    assert "Status" not in root.get_bucket_versioning(Bucket="backups")
    store.provision(NONCURRENT_DAYS="0")
    with pytest.raises(ClientError, match="NoSuchLifecycleConfiguration"):
        root.get_bucket_lifecycle_configuration(Bucket="mlflow")

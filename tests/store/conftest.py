"""The stores under test, made as by their charts: MinIO, and SeaweedFS with one server and with three; or your own.

With S3_ENDPOINT_URL, only your own store is tested. It needs three buckets: S3_MODELS_BUCKET (mlflow) with versioning,
S3_BACKUPS_BUCKET (backups), and S3_PREDICTIONS_BUCKET (predictions), whose objects expire after 30 days. It also needs
five users with the rights in charts/minio/README.md, and their keys in
S3_{ROOT,MLFLOW,SERVING,BACKUP,PREDICTIONS}_{ACCESS_KEY_ID,SECRET_ACCESS_KEY}. Keys that the tests write begin with
`conformance-`, and the tests remove them.
"""

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.support import minio, seaweedfs, seaweedfs_three
from tests.support.s3 import USERS, Target

_YOURS = os.environ.get("S3_ENDPOINT_URL", "")
_STORES = ["yours"] if _YOURS else ["minio", "seaweedfs", "three"]
# These do not test your own store.
collect_ignore = ["test_refusals.py", "test_rotation.py", "test_three.py"] if _YOURS else []


@pytest.fixture(scope="session", params=_STORES)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Yield each store with its buckets and users, one after the other."""
    if request.param == "yours":
        yield _yours()
        return
    if not minio.NEEDED:
        pytest.skip("minio and mc are not on PATH: tools/install minio mc")
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "minio":
        with minio.running(folder) as server:
            server.provision()
            yield server.target()
    elif request.param == "three":
        if not seaweedfs_three.NEEDED:
            pytest.skip(seaweedfs_three.WITHOUT)
        with seaweedfs_three.running(folder) as servers:
            yield servers.target()
    else:
        with seaweedfs.running(folder) as target:
            yield target


@pytest.fixture
def key(store: Target) -> Iterator[str]:
    """Yield an unused key in the models' bucket. Afterwards, remove everything below it, with all versions."""
    prefix = f"conformance-{secrets.token_hex(6)}/"
    yield f"{prefix}model.onnx"
    root = store.client("root")
    listed = root.list_object_versions(Bucket=store.models, Prefix=prefix)
    for entry in [*listed.get("Versions", []), *listed.get("DeleteMarkers", [])]:
        root.delete_object(Bucket=store.models, Key=entry["Key"], VersionId=entry["VersionId"])


def _yours() -> Target:
    def given(name: str) -> str:
        value = os.environ.get(name, "")
        if not value:
            pytest.fail(f"S3_ENDPOINT_URL is set, and {name} is not: tests/store/conftest.py says what is needed")
        return value

    users = {
        user: {f"AWS_{key}": given(f"S3_{user.upper()}_{key}") for key in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")}
        for user in USERS
    }
    return Target(
        _YOURS, _YOURS, users,
        models=os.environ.get("S3_MODELS_BUCKET", "mlflow"), backups=os.environ.get("S3_BACKUPS_BUCKET", "backups"),
        predictions=os.environ.get("S3_PREDICTIONS_BUCKET", "predictions"),
    )  # fmt: skip

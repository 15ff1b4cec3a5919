"""The stores under test, with what their charts make: a MinIO, a SeaweedFS of one server and one of three; or yours.

With S3_ENDPOINT_URL it is yours alone. It needs three buckets, S3_MODELS_BUCKET (mlflow) with versioning on,
S3_BACKUPS_BUCKET (backups) and S3_PREDICTIONS_BUCKET (predictions) whose objects go after 30 days, and five users with
the rights of charts/minio/README.md, whose keys stand in
S3_{ROOT,MLFLOW,SERVING,BACKUP,PREDICTIONS}_{ACCESS_KEY_ID,SECRET_ACCESS_KEY}. What the tests write there begins with
`conformance-`, and they remove it.
"""

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.support import minio, seaweedfs, seaweedfs_three
from tests.support.s3 import USERS, Target

_YOURS = os.environ.get("S3_ENDPOINT_URL", "")
_STORES = ["yours"] if _YOURS else ["minio", "seaweedfs", "three"]
# These say nothing of yours.
collect_ignore = ["test_refusals.py", "test_rotation.py", "test_three.py"] if _YOURS else []


@pytest.fixture(scope="session", params=_STORES)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A store with buckets and users, one after the other."""
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
    """A key of the models' bucket that nothing else uses; whatever is below it goes afterwards, with its versions."""
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

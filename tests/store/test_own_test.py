"""The script of `helm test` for a store confirms the configured rights, and names those that differ."""

import subprocess
from pathlib import Path

from tests.support import helm
from tests.support.minio import PROGRAMS
from tests.support.s3 import Target

SCRIPT = helm.CHARTS / "minio" / "files" / "test-users.sh"
WANTED = {
    "mlflow": "mlflow:readWrite",
    "serving": "mlflow:readOnly",
    "backup": "backups:readWrite",
    "predictions": "predictions:writeOnly",
}


def asked(store: Target, folder: Path, wanted: dict[str, str], also: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script with these rights as the configured ones, and with other buckets that users should read too."""
    for user in wanted:
        place = folder / "users" / user
        place.mkdir(parents=True, exist_ok=True)
        for name, value in store.users[user].items():
            (place / name).write_text(value)
    environment = {
        "PATH": f"{Path(str(PROGRAMS['mc'])).parent}:/usr/bin:/bin",
        "STORE_URL": store.url,
        "BUCKETS": f"{store.models} {store.backups} {store.predictions}",
        "USERS": " ".join(f"{user}:{rights}" for user, rights in wanted.items()),
        "USERS_DIR": str(folder / "users"),
        "ALSO_READS": also,
        "MC_CONFIG_DIR": str(folder / "mc"),
    }
    return subprocess.run(["sh", SCRIPT], env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_configured_rights_are_confirmed(store: Target, tmp_path: Path) -> None:
    done = asked(store, tmp_path, WANTED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(", as configured.") == len(WANTED)


def test_different_rights_are_reported(store: Target, tmp_path: Path) -> None:
    for user, rights, reason in (
        ("backup", "backups:writeOnly", "User backup can list bucket backups, but should not."),
        ("predictions", "predictions:readWrite", "User predictions cannot list its bucket predictions."),
        ("mlflow", "mlflow:readOnly", "User mlflow can write to mlflow, but should only read."),
    ):
        done = asked(store, tmp_path, {user: rights})
        assert (done.returncode, done.stderr.splitlines()[-1]) == (1, reason)
    done = asked(store, tmp_path, {"serving": "mlflow:readOnly"}, also=f"serving:{store.backups}")
    reason = f"User serving cannot list bucket {store.backups}, which it also reads."
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, reason)

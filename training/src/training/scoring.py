"""Score files with the model that an environment pins. The serving package does this, in a separate process."""

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from training.errors import BadInputError


def release_of(envs: Path, environment: str | None, service: str) -> Path:
    """Return the file with a service's pins in an environment, or in the only environment that has a release of it.

    Raises:
        BadInputError: There is none, or there are several and none is named.
    """
    found = sorted(path.parent.parent.name for path in envs.glob(f"*/{service}/release.yaml"))
    listed = ", ".join(found) or "no environment"
    if environment is None and len(found) > 1:
        raise BadInputError(f"--env: {service} has a release in {listed}; name one of them.")
    if environment is not None and environment not in found:
        raise BadInputError(f"--env: {service} has no release in {environment}; {listed} under {envs} has one.")
    if not found:
        raise BadInputError(
            f"{envs}: no {envs}/ENV/{service}/release.yaml; `gitops bump` writes it, --envs names another folder."
        )
    return envs / (environment or found[0]) / service / "release.yaml"


def score(release: Path, source: str, target: str, flags: Sequence[str], *, again: bool) -> int:
    """Run `serving score`, and pass on its output and exit code.

    Raises:
        BadInputError: The serving package is not installed here.
    """
    if find_spec("serving") is None or find_spec("nanoarrow") is None:
        raise BadInputError(
            "files are scored by the serving package, which is not installed here with its extra `batch`: use "
            "`make install` in the repository, or `serving score` in the image built with `--target batch`."
        )
    command = [sys.executable, "-m", "serving", "score", f"--release={release}", f"--input={source}"]
    command += [f"--output={target}", *flags, *(["--again=true"] if again else [])]
    store = os.environ.get("S3_ENDPOINT_URL") or os.environ.get("MLFLOW_S3_ENDPOINT_URL")
    return subprocess.run(
        command, check=False, env=os.environ | ({"S3_ENDPOINT_URL": store} if store else {})
    ).returncode

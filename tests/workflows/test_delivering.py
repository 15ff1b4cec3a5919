"""Proves tools/deliver-image: an image is built without a cache, scanned, signed, and only then gets its name.

The registry is real. The builder, the scanner and cosign are stand-ins, which record their calls.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.workflows.act import PROGRAMS
from tests.workflows.fork import Fork

# A stand-in for Docker: it pushes what it builds, and writes the digest to a file.
_DOCKER = """#!/bin/bash
echo "docker $*" >>"$STAND_IN_CALLS"
while [ "$1" != --metadata-file ]; do shift || exit 1; done
echo '{"containerimage.digest": "DIGEST"}' >"$2"
"""


@pytest.fixture
def path(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs at the beginning of PATH."""
    folder = fork.root / ".cache/programs"
    folder.mkdir()
    own = fork.root / ".cache/tools/bin"
    monkeypatch.setenv("PATH", f"{folder}:{PROGRAMS}:{own}:{os.environ['PATH']}")
    return folder


def deliver(fork: Fork, name: str, *, ok: bool = True) -> subprocess.CompletedProcess[str]:
    build, push = (f"{PROGRAMS}/container {verb}" for verb in ("build", "push"))
    return fork.run("tools/deliver-image", name, ok=ok, CONTAINER_BUILD=build, CONTAINER_PUSH=push)


def calls(fork: Fork) -> list[str]:
    file = fork.root / ".cache/calls"
    return file.read_text().splitlines() if file.exists() else []


def test_a_new_image_is_scanned_signed_and_named_last(fork: Fork, path: Path) -> None:
    reference = deliver(fork, "serving").stdout.strip()
    facts = fork.facts("serving")
    assert reference == facts["reference"]
    assert reference.startswith(f"{fork.prefix}/serving:src-")
    digest = facts["digest"]
    assert (fork.root / ".cache/signed").read_text().splitlines() == [digest, f"{digest} attested"]
    scanned = [call for call in calls(fork) if call.startswith("trivy ")]
    assert len(scanned) == 2, "both platforms"
    assert all(digest in call for call in scanned)


def test_a_delivered_image_is_neither_built_nor_named_again(fork: Fork, path: Path) -> None:
    first = deliver(fork, "mlflow").stdout
    before = calls(fork)
    assert fork.run("tools/deliver-image", "mlflow", CONTAINER_BUILD="false", CONTAINER_PUSH="false").stdout == first
    assert calls(fork) == before


@pytest.mark.parametrize("program", ["trivy", "cosign"])
def test_an_image_without_scan_or_signature_gets_no_name(fork: Fork, path: Path, program: str) -> None:
    (path / program).write_text("#!/bin/sh\nexit 1\n")
    (path / program).chmod(0o755)
    if program == "cosign":
        (fork.root / ".cache/tools/bin/cosign").unlink()
    deliver(fork, "serving", ok=False)
    assert fork.facts("serving")["digest"] == ""


def test_a_name_that_another_branch_gave_is_refused(fork: Fork, path: Path) -> None:
    facts = fork.facts("serving")
    fork.push_something(facts["repository"], facts["tag"])
    refused = deliver(fork, "serving", ok=False)
    assert "no signatures found" in refused.stderr + refused.stdout


def test_docker_builds_for_both_platforms_without_a_cache_and_without_a_name(fork: Fork, path: Path) -> None:
    digest = fork.push_something(f"{fork.prefix}/gitops", "built")
    (path / "docker").write_text(_DOCKER.replace("DIGEST", digest))
    (path / "docker").chmod(0o755)
    reference = fork.run("tools/deliver-image", "gitops", CONTAINER_BUILD="").stdout.strip()
    assert reference.endswith(f"@{digest}")
    (build,) = [call for call in calls(fork) if call.startswith("docker ")]
    wanted = ("--no-cache", "--platform linux/amd64,linux/arm64", "--provenance mode=max", "--sbom true")
    assert all(part in build for part in (*wanted, "push-by-digest=true"))
    assert "--tag" not in build


def test_docker_pushes_by_default(fork: Fork, path: Path) -> None:
    digest = "sha256:" + "0f" * 32
    (path / "docker").write_text(f'#!/bin/sh\n[ "$1" != image ] || echo "there/serving@{digest}"\n')
    (path / "docker").chmod(0o755)
    assert fork.run("tools/push-image", "here", "there/serving:1", CONTAINER_PUSH="").stdout.strip() == digest
    refused = fork.run("tools/push-image", "here", "elsewhere/serving:1", ok=False, CONTAINER_PUSH="")
    assert "did not print a digest" in refused.stderr
    for name in ("serving", "serving-sklearn", "serving-batch"):
        fork.run("tools/push-images", name, CONTAINER_PUSH="", IMAGE_REPOSITORY="there")
    noted = json.loads((fork.root / ".cache/images.json").read_text())
    assert noted["serving-batch"]["tag"] == "dev-batch"
    assert noted["serving-sklearn"] == {"repository": "there/serving", "tag": "dev-sklearn", "digest": digest}


def test_a_user_is_logged_in_at_the_registry(fork: Fork, path: Path, tmp_path: Path) -> None:
    assert "no login" in fork.run("tools/registry-login").stdout
    fork.run(
        "tools/registry-login", REGISTRY_USERNAME="ada", REGISTRY_PASSWORD="of-the-tests", DOCKER_CONFIG=str(tmp_path)
    )
    host = fork.prefix.partition("/")[0]
    assert host in json.loads((tmp_path / "config.json").read_text())["auths"]

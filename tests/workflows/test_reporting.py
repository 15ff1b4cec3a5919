"""Proves the scripts that report: what is scanned, what a comment on a pull request contains, and what git pins.

GitHub's client and the scanner are stand-ins that record their calls, and answer as the real ones do.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workflows.fork import PLATFORM
from tests.workflows.workflow import ROOT

MARK = "<!-- rendered-diff -->"
DIGEST = "sha256:" + "0f" * 32
BATCH = "sha256:" + "0e" * 32
SERVING, MLFLOW = f"ghcr.io/you/serving@{DIGEST}", f"ghcr.io/you/mlflow@{DIGEST}"


@dataclass(frozen=True)
class Place:
    """A folder with the scripts, and with programs that record their calls."""

    root: Path

    def program(self, name: str, body: str) -> None:
        """Create a program of lines of bash, in a folder of PATH."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" "$*" >>"{self.root}/calls"\n{body}\n')
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """The calls so far."""
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, *command: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a script."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**os.environ, "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}", "GH_REPO": "you/pipeline"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done


@pytest.fixture
def place(tmp_path: Path) -> Place:
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("go"))
    return Place(tmp_path)


@pytest.fixture
def scanned(place: Place) -> Place:
    """A place that can read platform.yaml."""
    (place.root / ".venv").symlink_to(ROOT / ".venv")
    (place.root / "platform.yaml").write_text(PLATFORM)
    return place


def test_both_platforms_are_scanned_and_one_finding_hides_no_other(scanned: Place) -> None:
    scanned.program("bin/trivy", f'case "$*" in *arm64*{MLFLOW}) exit 1 ;; esac')
    scanned.run("tools/scan-image", SERVING)
    assert [("linux/amd64" in call, "linux/arm64" in call) for call in scanned.calls] == [(True, False), (False, True)]
    assert all("--ignore-unfixed --severity HIGH,CRITICAL --exit-code 1" in call for call in scanned.calls)
    refused = scanned.run("tools/scan-image", MLFLOW, SERVING, ok=False)
    assert f"{MLFLOW} (linux/arm64) did not pass" in refused.stderr
    assert SERVING not in refused.stderr
    assert len(scanned.calls) == 6


@pytest.mark.parametrize(("fact", "insecure"), [("", False), (", plainHttp: true", True)])
def test_a_registry_of_plain_http_is_scanned_without_tls(scanned: Place, fact: str, insecure: bool) -> None:
    scanned.program("bin/trivy", "")
    (scanned.root / "platform.yaml").write_text(PLATFORM.replace("you/pipeline}", f"you/pipeline{fact}}}"))
    scanned.run("tools/scan-image", SERVING.replace(SERVING.partition("/")[0], "registry.example.com"))
    assert [("--insecure" in call) for call in scanned.calls] == [insecure, insecure]


def comment(place: Place, body: str, earlier: str = "") -> list[str]:
    """Return the calls that write to GitHub; `earlier` is the number of an existing comment."""
    place.program("bin/gh", f'[ "$2" != --paginate ] || printf "%s" "{earlier}"')
    (place.root / "rendered.md").write_text(body)
    (place.root / "calls").unlink(missing_ok=True)
    place.run("tools/comment", "12", "rendered.md")
    return [call for call in "\n".join(place.calls).split("api ") if call.startswith("--method")]


def test_a_difference_becomes_a_comment(place: Place) -> None:
    (call,) = comment(place, "replicas: 2 -> 3")
    assert call.startswith("--method POST repos/you/pipeline/issues/12/comments")
    assert f"body={MARK}\nreplicas: 2 -> 3" in call


def test_the_comment_is_kept_up_to_date(place: Place) -> None:
    (call,) = comment(place, "replicas: 2 -> 4", earlier="99")
    assert call.startswith("--method PATCH repos/you/pipeline/issues/comments/99")
    (call,) = comment(place, "", earlier="99")
    assert "no longer differ" in call


def test_no_difference_makes_no_comment(place: Place) -> None:
    assert comment(place, "") == []


def test_a_difference_is_shown_by_service_and_cut_where_it_is_long(place: Place) -> None:
    services = [f"here/{letter}" for letter in "abcdef"]
    place.program(
        ".venv/bin/gitops",
        f'case "$1 $2" in targets*) printf "%s\\n" {" ".join(services)} ;; "diff here/a") ;;\n'
        'diff*here*) printf "+%.0s" $(seq 20000) ;; esac',
    )
    shown = place.run("tools/rendered-diff", "abc").stdout
    assert place.calls == [
        "targets --released", *(f"diff {name} --revision abc" for name in ("platform", *services))
    ]  # fmt: skip
    assert shown.startswith("<details><summary>here/b</summary>")
    assert "18000 of 20000 characters shown. To see all of it: `gitops diff here/b --revision abc`" in shown
    # What does not fit into one comment is counted.
    assert "0 of 20000 characters shown. To see all of it: `gitops diff here/f --revision abc`" in shown
    assert len(shown) < 65000
    place.program(".venv/bin/gitops", "exit 1")
    place.run("tools/rendered-diff", "abc", ok=False)


def test_what_is_delivered_is_verified_and_pinned_with_the_variant_for_files(place: Place) -> None:
    place.program("tools/image", 'echo "reference=ghcr.io/you/$1:src@sha256:$1"')
    place.program("tools/chart-version", "echo reference=oci://chart@sha256:c; echo pin=0.2.0@sha256:c")
    place.program("tools/is-latest", "echo latest=true")
    place.program(".venv/bin/gitops", "")
    place.run("tools/pin-delivered")
    verified, platform, services = [call for call in place.calls if call.startswith(("verify", "bump"))]
    image = "ghcr.io/you/{0}:src@sha256:{0}".format
    assert all(f"--signed {image(name)}" in verified for name in ("serving", "serving-batch", "mlflow", "training"))
    assert platform == f"bump platform --image mlflow={image('mlflow')} --image training={image('training')}"
    pins = f"--image {image('serving')} --batch-image {image('serving-batch')} --chart 0.2.0@sha256:c"
    assert services == f"bump {pins}"
    # If one of them is missing, nothing is pinned.
    place.program("tools/image", '[ "$1" = serving-batch ] || echo "reference=ghcr.io/you/$1:src@sha256:$1"')
    assert "serving-batch of this commit is not delivered" in place.run("tools/pin-delivered", ok=False).stderr


def test_what_git_pins_is_found(place: Place) -> None:
    (place.root / ".venv").symlink_to(ROOT / ".venv")
    contents = {
        "here/a/release.yaml": {"image": {"repository": "ghcr.io/you/serving", "tag": "1", "digest": DIGEST}},
        "there/b/release.yaml": {
            "image": {"repository": "ghcr.io/you/serving", "tag": "0", "digest": DIGEST, "batchDigest": BATCH}
        },
        "platform/pins/mlflow.yaml": {"image": {"repository": "ghcr.io/you/mlflow", "tag": "1", "digest": DIGEST}},
        "platform/training.yaml": {"image": {"repository": "ghcr.io/you/training", "tag": "", "digest": ""}},
        "platform/minio.yaml": {"persistence": {}},
    }
    for name, content in contents.items():
        path = place.root / "envs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    assert place.run("tools/pinned-images").stdout.split() == [MLFLOW, f"ghcr.io/you/serving@{BATCH}", SERVING]


def test_a_fresh_fork_pins_nothing(place: Place) -> None:
    (place.root / ".venv").symlink_to(ROOT / ".venv")
    shutil.copytree(ROOT / "envs/platform", place.root / "envs/platform")
    assert place.run("tools/pinned-images").stdout == ""

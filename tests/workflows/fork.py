"""A repository like this one, with a separate registry, for tests of the scripts."""

import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from tests.support.folders import copied
from tests.workflows.act import PROGRAMS
from tests.workflows.workflow import ROOT

CHART = "postgres"
IMAGES = ("serving", "serving-sklearn", "serving-batch", "training", "mlflow", "gitops")
_GIT = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
_FOLDERS = (
    "tools",
    "models",
    "packages",
    "requirements",
    "services/serving",
    "services/mlflow",
    "services/gitops",
    "training",
    "envs/platform",
    "charts/common",
    "apps",
    "argocd",
)
_CHARTS = ("mlflow", CHART, "training", "model-serving")
VERSIONS = {
    chart: str(yaml.safe_load((ROOT / f"charts/{chart}/Chart.yaml").read_text())["version"]) for chart in _CHARTS
}
_LEFT_OUT = ("__pycache__", "go", "tests", "notebooks", "*.egg-info", "release.yaml")
# The names of branch, environments and services differ from upstream's, so that scripts with fixed names fail.
PLATFORM = """\
repository: https://git.example.com/you/pipeline.git
branch: trunk
registry: {prefix: registry.example.com/you/pipeline}
environments:
  - {name: first}
  - {name: also-first}
  - {name: live, from: first}
services:
  - {name: flowers, model: flowers-classifier, owner: "@you"}
  - {name: bottles, model: bottles-classifier, owner: "@you"}
"""
TARGETS = tuple(f"{place}/{service}" for place in ("first", "also-first", "live") for service in ("flowers", "bottles"))
_CHANGELOG = """# Changelog

## [Unreleased]

- new

## [1.2.3]

- It serves.

## [1.2.2]

- old
"""


def push_image(crane: Path, reference: str, content: str, folder: Path) -> str:
    """Push an image of one small file to a registry, and return its digest.

    Args:
        crane: The program.
        reference: The image's reference.
        content: The file's content; images with equal content are equal.
        folder: A folder for temporary files.
    """
    (folder / "content").write_text(content)
    layer = folder / "layer.tar"
    subprocess.run(["tar", "-cf", layer, "-C", folder, "content"], check=True)
    command = [str(crane), "append", "--insecure", "--new_layer", str(layer), "--new_tag", reference]
    pushed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return pushed.stdout.strip().rpartition("@")[2]


@dataclass(frozen=True)
class Fork:
    """A repository with the scripts, and the registry that they publish to."""

    root: Path
    prefix: str
    crane: Path

    @classmethod
    def make(cls, root: Path, tools: Path) -> "Fork":
        """Copy the files that the scripts read, and commit them; without releases and without a registry."""
        left_out = shutil.ignore_patterns(*_LEFT_OUT)
        for name in (*_FOLDERS, *(f"charts/{chart}" for chart in _CHARTS)):
            shutil.copytree(ROOT / name, root / name, ignore=left_out, symlinks=True)
        shutil.copy(ROOT / ".dockerignore", root)
        (root / "platform.yaml").write_text(PLATFORM)
        for target in TARGETS:
            (root / "envs" / target).mkdir(parents=True)
            (root / "envs" / target / "values.yaml").write_text("# Tuning.\n")
        (root / "CHANGELOG.md").write_text(_CHANGELOG)
        (root / ".gitignore").write_text(".cache/\n.venv\n")
        (root / ".cache/tools/bin").mkdir(parents=True)
        for name in ("crane", "helm"):
            (root / ".cache/tools/bin" / name).symlink_to(tools / name)
        # cosign takes minutes to build, so this is a stand-in. tests/workflows/test_signing.py uses the real one.
        (root / ".cache/tools/bin/cosign").symlink_to(PROGRAMS / "cosign")
        (root / ".cache/signed").touch()
        (root / ".venv").symlink_to(ROOT / ".venv")
        made = cls(root=root, prefix="", crane=tools / "crane")
        made.git("init", "--quiet", "--initial-branch", "trunk")
        made.commit()
        return made

    def copied(self, root: Path, registry: str) -> "Fork":
        """Return a copy, which publishes to the given registry."""
        return replace(self, root=copied(self.root, root), prefix=f"{registry}/you/pipeline")

    @property
    def environment(self) -> dict[str, str]:
        """Variables for the registry, for signing, and for the files of the stand-ins."""
        places = {
            f"STAND_IN_{name.upper()}": str(self.root / ".cache" / name) for name in ("signed", "calls", "images")
        }
        return {"REGISTRY_PREFIX": self.prefix, "PLAIN_HTTP": "1", "GITOPS_COSIGN_KEY": "cosign.pub", **places}

    def run(self, *command: str, ok: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command, and return its result with its output."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**os.environ, **self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done

    def git(self, *arguments: str) -> str:
        """Run git."""
        return self.run("git", *_GIT, *arguments).stdout.strip()

    def commit(self) -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")

    def facts(self, name: str) -> dict[str, str]:
        """Return the output of tools/image for an image, by name."""
        lines = self.run("tools/image", name).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def push_something(self, repository: str, tag: str) -> str:
        """Push an image, whose content is its tag, and return its digest."""
        return push_image(self.crane, f"{repository}:{tag}", tag, self.root / ".cache")

    def chart(self) -> str:
        """Return the published reference of the serving chart, by its content."""
        lines = self.run("tools/chart-version", "model-serving").stdout.splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith("reference="))

    def sign(self, digest: str) -> None:
        """Sign some content."""
        self.run(".cache/tools/bin/cosign", "sign", f"something@{digest}")

    def deliver(self) -> dict[str, str]:
        """Push and sign placeholders for all images of the last commit, and the chart; return references of images."""
        for name in IMAGES:
            facts = self.facts(name)
            self.sign(self.push_something(facts["repository"], facts["tag"]))
        self.run("tools/push-charts", "--sign", "model-serving")
        return {name: self.facts(name)["reference"] for name in IMAGES}

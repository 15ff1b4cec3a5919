"""Proves that the promotion jobs of Gitea and GitLab can read charts from a private registry, by their own login."""

import base64
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import yaml

from services.gitops.tests.web import AnyMethod, listening
from tests.workflows.fork import PLATFORM, TARGETS, VERSIONS, Fork
from tests.workflows.test_execution import release
from tests.workflows.workflow import ROOT

WRITER = {"REGISTRY_USERNAME": "writer", "REGISTRY_PASSWORD": "writes"}
READER = {"REGISTRY_READ_USERNAME": "reader", "REGISTRY_READ_PASSWORD": "reads"}
# What GitLab gives every job, if the project has a registry.
OWN = {"CI_REGISTRY_USER": "gitlab-ci-token", "CI_REGISTRY_PASSWORD": "of-the-job"}
_USERS = ("writer:writes", "reader:reads", "gitlab-ci-token:of-the-job")
_KNOWN = {f"Basic {base64.b64encode(each.encode()).decode()}" for each in _USERS}
_LOGIN = "tools/registry-login"
_RENDER = (".venv/bin/gitops", "render", TARGETS[0], "--chart-from", "registry")
_SECRET = re.compile(r"\$\{\{ secrets\.(\w+) \}\}")


@contextmanager
def private(registry: str) -> Iterator[str]:
    """Let only known users read a registry; yield the new address."""

    class Handler(AnyMethod):
        def answer_it(self) -> None:
            if self.headers.get("authorization") not in _KNOWN:
                self.send_response(401)
                self.send_header("www-authenticate", 'Basic realm="registry"')
                self.send_header("content-length", "0")
                self.end_headers()
                return
            kept = {name: self.headers[name] for name in ("accept",) if name in self.headers}
            answer = httpx.request(self.command, f"http://{registry}{self.path}", headers=kept)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

    with listening(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
def guarded(fork: Fork, registry: str) -> Iterator[str]:
    """The address of a private registry with the charts of the fork, whose first service is released."""
    fork.run("tools/push-charts")
    with private(registry) as address:
        prefix = f"registry: {{prefix: {address}/you/pipeline, plainHttp: true}}"
        adopted = PLATFORM.replace("registry: {prefix: registry.example.com/you/pipeline}", prefix)
        (fork.root / "platform.yaml").write_text(adopted)
        (fork.root / "envs" / TARGETS[0] / "release.yaml").write_text(release(chart=VERSIONS["model-serving"]))
        yield address


def login_of(forge: str, pipeline: str, job: str, known: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the login of a job gets, from the secrets or variables of the repository.

    GitLab gives all variables to each job. On Gitea, the step names them.
    """
    if forge == "gitlab":
        _, jobs = yaml.safe_load_all((ROOT / ".gitlab-ci.yml").read_text(encoding="utf-8"))
        assert _LOGIN in jobs[job]["script"]
        return dict(known)
    workflow = yaml.safe_load((ROOT / f".gitea/workflows/{pipeline}.yml").read_text(encoding="utf-8"))
    (step,) = [step for step in workflow["jobs"][job]["steps"] if step.get("run") == _LOGIN]
    env: Mapping[str, str] = step["env"]
    return {name: _SECRET.sub(lambda match: known.get(match[1], ""), value) for name, value in env.items()}


def logged_in(
    fork: Fork, folder: Path, login: Mapping[str, str], *command: str, ok: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command with what the login wrote; it gets no variables with passwords."""
    places = {"DOCKER_CONFIG": str(folder), "HOME": str(folder), "REGISTRY_PREFIX": ""}
    fork.run("env", *_pairs(places | dict(login)), _LOGIN)
    return fork.run("env", *_pairs(places), *command, ok=ok)


def _pairs(variables: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in variables.items()]


@pytest.mark.parametrize(
    ("forge", "pipeline", "job", "known"),
    [
        ("gitea", "promote", "promote", WRITER),
        ("gitea", "promote", "promote", READER),
        ("gitea", "promote-checks", "promotion", WRITER | READER),
        ("gitlab", "promote", "promote", WRITER | OWN),
        ("gitlab", "promote", "promote", OWN),
        ("gitlab", "promote-checks", "promotion", READER | OWN),
        ("gitlab", "promote-checks", "promotion", OWN),
    ],
)
def test_a_promotion_reads_from_a_private_registry(
    forge: str, pipeline: str, job: str, known: dict[str, str], fork: Fork, guarded: str, tmp_path: Path
) -> None:
    refused = logged_in(fork, tmp_path / "nobody", {}, *_RENDER, ok=False)
    assert "A private registry needs" in refused.stderr
    if known.get("CI_REGISTRY_USER"):
        known = {**known, "CI_REGISTRY": guarded}
    login = login_of(forge, pipeline, job, known)
    assert "kind: Deployment" in logged_in(fork, tmp_path / "job", login, *_RENDER).stdout


def test_gitlabs_own_login_is_for_its_own_registry(fork: Fork, guarded: str, tmp_path: Path) -> None:
    """Another registry refuses it, even where everybody may read."""
    logged_in(fork, tmp_path, {**OWN, "CI_REGISTRY": "registry.gitlab.example.com"}, "true")
    assert not (tmp_path / "config.json").exists()

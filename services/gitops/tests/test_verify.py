"""`gitops verify` with a real registry, a real cosign with a separate key pair, Helm, and answers of MLflow.

The signatures need cosign and crane (tools/install cosign crane); without them only those tests are skipped.
"""

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
import yaml

from gitops.cli import execute
from gitops.errors import BadInputError
from gitops.pins.release import Image, Model, Notes, Release, parse_image, written
from gitops.pins.verify import Trust
from gitops.platform.model import Platform
from gitops.platform.reader import read_platform
from services.gitops.tests.conftest import DIGEST, ROOT, add_service, commit_all, git, release_file
from services.gitops.tests.mlflow_answers import answering, as_mlflow

TOOLS = ROOT / ".cache" / "tools" / "bin"
BILL = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": []}
# The key pair of the tests is in no public log.
PRIVATE = ("--tlog-upload=false", "--use-signing-config=false")


def place(repository: str) -> Platform:
    return read_platform(
        f"repository: {repository}\nregistry: {{prefix: registry.example.com/acme}}\n"
        "environments: [{name: staging}]\n"
    )


GITHUB = place("https://github.com/acme/pipeline.git")


class Shop(NamedTuple):
    """A registry with an image, and the key that signed it."""

    address: str
    image: Image
    key: Path
    unsigned: Image


def tool(name: str, *arguments: str | Path, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [TOOLS / name, *arguments],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an OCI registry."""
    if not (TOOLS / "crane").exists() or not (TOOLS / "cosign").exists():
        pytest.skip("cosign and crane are not there: tools/install cosign crane")
    said = tmp_path_factory.mktemp("registry") / "said"
    with (
        said.open("w") as stream,
        subprocess.Popen(
            [TOOLS / "crane", "registry", "serve", "--address", "127.0.0.1:0"], stdout=stream, stderr=stream
        ) as process,
    ):
        try:
            while not (port := re.search(r"serving on port (\d+)|127\.0\.0\.1:(\d+)", said.read_text())):
                assert process.poll() is None, said.read_text()
            yield f"127.0.0.1:{port[1] or port[2]}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def shop(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A registry with two images, one of them signed and attested, and the chart."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "bom.json").write_text(json.dumps(BILL))
    images = [pushed(folder, f"{registry}/acme/pipeline/serving:{tag}") for tag in ("1.8.2", "1.8.3")]
    password = {"COSIGN_PASSWORD": ""}
    tool("cosign", "generate-key-pair", folder=folder, **password)
    reference = f"{images[0].repository}@{images[0].digest}"
    signing = ("--yes", "--key", "cosign.key", *PRIVATE)
    tool("cosign", "sign", *signing, reference, folder=folder, **password)
    tool(
        "cosign",
        "attest",
        *signing,
        "--type",
        "cyclonedx",
        "--predicate",
        "bom.json",
        reference,
        folder=folder,
        **password,
    )
    tool("helm", "package", ROOT / "charts" / "model-serving", folder=folder)
    (chart,) = folder.glob("*.tgz")
    tool("helm", "push", chart, f"oci://{registry}/acme/pipeline/charts", "--plain-http", folder=folder)
    return Shop(registry, images[0], folder / "cosign.pub", images[1])


def pushed(folder: Path, reference: str) -> Image:
    layer = folder / "layer.tar"
    (folder / "content").write_text(reference)
    with tarfile.open(layer, "w") as archive:
        archive.add(folder / "content", "content")
    said = tool("crane", "append", "--new_layer", layer, "--new_tag", reference, "--insecure", folder=folder)
    return parse_image(f"{reference}@{said.rpartition('@')[2]}")


@pytest.fixture
def verified(fork: Path, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fork with that registry, in which staging runs the signed image and the published chart."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("cosign", "helm"):
        link = fork / ".cache" / "tools" / "bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(TOOLS / name)
    where = ["--repo", "https://git.example.com/acme/pipeline.git", "--registry", f"{shop.address}/acme/pipeline"]
    assert execute(["adopt", *where, "--registry-plain-http"]) == 0
    pin(fork, shop.image)
    return fork


def pin(fork: Path, image: Image, version: str = "1", digest: str = DIGEST, chart_digest: str | None = None) -> None:
    chart = yaml.safe_load((fork / "charts/model-serving/Chart.yaml").read_text())["version"]
    release = Release(
        release=Notes(chart=chart, chart_digest=chart_digest),
        image=image,
        model=Model(name="iris-classifier", version=version, digest=digest, uri="s3://mlflow/1/models/m-1"),
    )
    (fork / release_file("staging")).write_text(written(None, release, "file"))


def verify(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, str]]:
    """Return the exit code, and the problem of each check."""
    capsys.readouterr()
    code = execute(["verify", "staging/iris", "--json", *options])
    return code, {check["part"]: check["problem"] for check in json.loads(capsys.readouterr().out)[0]["checks"]}


def test_signed_attested_registered_and_published_pins_pass(
    verified: Path, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(as_mlflow) as (model, _):
        code, problems = verify(capsys, "--key", str(shop.key), "--no-transparency-log", "--mlflow-url", model)
    assert (code, problems) == (0, {"signature": "", "sbom": "", "model": "", "chart": ""})


def test_an_unsigned_image_fails_and_the_other_checks_still_run(
    verified: Path, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    pin(verified, shop.unsigned)
    options = ("--key", str(shop.key), "--no-transparency-log", "--without", "model")
    code, problems = verify(capsys, *options)
    assert code == 2
    assert "no signatures found" in problems["signature"]
    assert problems["sbom"]
    assert problems["chart"] == ""


def test_the_variant_for_batch_scoring_must_be_signed_too(
    verified: Path, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    pin(verified, msgspec.structs.replace(shop.image, batch_digest=shop.unsigned.digest))
    options = ("--key", str(shop.key), "--no-transparency-log", "--without", "model", "--without", "chart", "--json")
    assert execute(["verify", "staging/iris", *options]) == 2
    checks = json.loads(capsys.readouterr().out)[0]["checks"]
    problems = {(check["subject"].partition("@")[2], check["part"]): check["problem"] for check in checks}
    assert problems[shop.image.digest, "signature"] == problems[shop.image.digest, "sbom"] == ""
    assert "no signatures found" in problems[shop.unsigned.digest, "signature"]


def test_a_signature_of_another_key_does_not_count(
    verified: Path, shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool("cosign", "generate-key-pair", folder=tmp_path, COSIGN_PASSWORD="")
    options = (
        "--key",
        str(tmp_path / "cosign.pub"),
        "--no-transparency-log",
        "--without",
        "model",
        "--without",
        "chart",
    )
    code, problems = verify(capsys, *options)
    assert code == 2
    assert problems["signature"]
    assert problems["sbom"]


def test_a_chart_that_was_never_published_fails(verified: Path, shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    file = verified / release_file("staging")
    chart = yaml.safe_load(file.read_text())["release"]["chart"]
    file.write_text(file.read_text().replace(f"chart: {chart}", "chart: 99.0.0"))
    code, problems = verify(capsys, "--without", "image", "--without", "model")
    assert code == 2
    assert "99.0.0" in problems["chart"]


@pytest.fixture
def pinned(fork: Path) -> Path:
    """Staging runs an image of a registry that does not answer."""
    options = ["--repo", "https://git.example.com/acme/pipeline.git", "--registry", "127.0.0.1:9/acme"]
    assert execute(["adopt", *options, "--registry-plain-http"]) == 0
    pin(fork, Image(repository="127.0.0.1:9/acme/serving", tag="1.8.2", digest=DIGEST))
    return fork


def test_a_model_that_changed_since_it_was_pinned_fails(pinned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = Image(repository="127.0.0.1:9/acme/serving", tag="1.8.2", digest=DIGEST)
    pin(pinned, image, digest="sha256:" + "ab" * 32)
    with answering(as_mlflow) as (model, _):
        code, problems = verify(capsys, "--without", "image", "--without", "chart", "--mlflow-url", model)
    assert code == 2
    assert "its digest is pinned as sha256:abab" in problems["model"]


def test_a_registry_that_does_not_answer_is_an_outage(pinned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, problems = verify(capsys, "--without", "image", "--without", "model")
    assert code == 1
    assert "does not answer" in problems["chart"]


def test_without_cosign_the_error_says_how_to_install_it(
    pinned: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(Path(shutil.which("git") or "git").parent))
    code, problems = verify(capsys, "--key", "cosign.pub", "--without", "model", "--without", "chart")
    assert code == 2
    assert "tools/install cosign" in problems["signature"]


def test_a_fork_on_github_trusts_only_its_own_workflow() -> None:
    options = dict(zip(*[iter(Trust().options(GITHUB))] * 2, strict=True))
    assert options["--certificate-oidc-issuer"] == "https://token.actions.githubusercontent.com"
    signer = re.compile(options["--certificate-identity-regexp"])
    workflow = "https://github.com/acme/pipeline/.github/workflows/deliver.yml@refs"
    assert signer.search(f"{workflow}/heads/main")
    branches = (f"{workflow}/heads/feature", f"{workflow}/heads/main-2", f"{workflow}/heads/feature/heads/main")
    tags = (f"{workflow}/tags/v1.2.3", f"{workflow}/tags/main", f"{workflow}/tags/v1/heads/main")
    for other in (*branches, *tags, f"{workflow.replace('acme', 'acme2')}/heads/main", f"{workflow}/pull/1/merge"):
        assert not signer.search(other)
    assert not signer.search(workflow.replace("deliver", "ci") + "/heads/main")


def test_outside_github_a_key_or_an_identity_is_needed() -> None:
    elsewhere = place("https://git.example.com/acme/pipeline.git")
    with pytest.raises(BadInputError, match="give --key, or --identity"):
        Trust().options(elsewhere)
    with pytest.raises(BadInputError, match="exclude one another"):
        Trust(key="cosign.pub", identity="me").options(GITHUB)
    assert "me" in Trust(identity="me", issuer="https://issuer.example.com").options(elsewhere)


def published(fork: Path, registry: str) -> tuple[str, str]:
    """Return the published version of the chart, and its digest."""
    version = str(yaml.safe_load((fork / "charts/model-serving/Chart.yaml").read_text())["version"])
    chart = f"{registry}/acme/pipeline/charts/model-serving:{version}"
    return version, tool("crane", "digest", "--insecure", chart, folder=fork)


def test_a_chart_must_have_its_pinned_digest(
    verified: Path, shop: Shop, registry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, digest = published(verified, registry)
    options = ("--without", "image", "--without", "model", "--without", "signature")
    pin(verified, shop.image, chart_digest=digest)
    assert verify(capsys, *options) == (0, {"chart": ""})
    pin(verified, shop.image, chart_digest=DIGEST)
    assert verify(capsys, *options)[0] == 2


def test_a_chart_with_a_pinned_digest_must_be_signed(
    verified: Path, shop: Shop, registry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, digest = published(verified, registry)
    pin(verified, shop.image, chart_digest=digest)
    options = ("--key", str(shop.key), "--no-transparency-log", "--without", "image", "--without", "model")
    code, problems = verify(capsys, *options)
    assert (code, problems["chart"]) == (2, "")
    assert "no signatures found" in problems["chart signature"]
    chart = f"{registry}/acme/pipeline/charts/model-serving@{digest}"
    signing = ("--yes", "--key", "cosign.key", *PRIVATE)
    tool("cosign", "sign", *signing, chart, folder=shop.key.parent, COSIGN_PASSWORD="")
    assert verify(capsys, *options) == (0, {"chart": "", "chart signature": ""})


def test_the_signature_of_any_reference_can_be_checked(
    verified: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The digest counts, whatever tag precedes it."""
    monkeypatch.setenv("GITOPS_COSIGN_KEY", str(shop.key))
    monkeypatch.setenv("GITOPS_COSIGN_NO_TRANSPARENCY_LOG", "true")
    good, bad = (f"{each.repository}:{each.tag}@{each.digest}" for each in (shop.image, shop.unsigned))
    assert execute(["verify", "--signed", good]) == 0
    assert execute(["verify", "--signed", good, "--signed", bad]) == 2
    assert f"{bad}: " in capsys.readouterr().err.replace("\n", "")
    for wrong in ("", good.partition("@")[0]):
        assert execute(["verify", "--signed", wrong]) == 2
        assert "is not REPOSITORY@sha256:DIGEST" in " ".join(capsys.readouterr().err.split())
    for both in (["verify"], ["verify", "staging/iris", "--signed", good]):
        assert execute(both) == 2


def test_a_bump_pins_the_digest_of_the_chart_in_the_registry(
    verified: Path, shop: Shop, registry: str, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version, digest = published(verified, registry)
    commit_all(verified, "adopted")
    git(verified, "push", "--quiet")
    assert execute(["bump", "staging/iris", "--chart", version]) == 0
    pinned = yaml.safe_load((verified / release_file("staging")).read_text())["release"]
    assert (pinned["chart"], pinned["chartDigest"]) == (version, digest)
    assert execute(["bump", "staging/iris", "--chart", "99.0.0"]) == 2
    assert "has no version 99.0.0 to pin" in " ".join(capsys.readouterr().err.split())
    # Publishing the version again changes nothing, until another bump looks it up.
    assert execute(["bump", "staging/iris", "--chart", f"{version}@{DIGEST}"]) == 0
    assert git(verified, "log", "-1", "--format=%s", "origin/main") == f"bump(staging/iris): chart {version}"
    assert yaml.safe_load((verified / release_file("staging")).read_text())["release"]["chartDigest"] == DIGEST


def test_without_the_registry_the_digest_must_be_given(
    pinned: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit_all(pinned, "adopted")
    git(pinned, "push", "--quiet")
    assert execute(["bump", "staging/iris", "--chart", "1.0.0"]) == 1
    assert "--chart 1.0.0@sha256:DIGEST" in " ".join(capsys.readouterr().err.split())
    assert execute(["bump", "staging/iris", "--chart", f"1.0.0@{DIGEST}"]) == 0
    assert execute(["bump", "staging/iris", "--chart", "1.0.0@latest"]) == 2


def test_an_invalid_release_does_not_stop_other_checks(pinned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_service(pinned, "wine", "wine-classifier")
    file = pinned / release_file("staging", "wine")
    file.parent.mkdir()
    file.write_text("release: [\n")
    with answering(as_mlflow) as (model, _):
        options = ["--without", "image", "--without", "chart", "--mlflow-url", model, "--json"]
        assert execute(["verify", "staging", *options]) == 2
    told = {entry["target"]: entry["checks"] for entry in json.loads(capsys.readouterr().out)}
    assert [(check["part"], check["problem"]) for check in told["staging/iris"]] == [("model", "")]
    assert "is not valid YAML" in told["staging/wine"][0]["problem"]

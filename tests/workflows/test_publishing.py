"""Proves the scripts that publish, on a real registry: charts never change, and images are found and not built again.

The scripts run in a small separate repository, with real charts, the real Dockerfiles and the real programs.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.workflows.fork import CHART, IMAGES, PLATFORM, TARGETS, VERSIONS, Fork
from tests.workflows.workflow import ROOT


def set_version(fork: Fork, version: str) -> None:
    path = fork.root / f"charts/{CHART}/Chart.yaml"
    content = yaml.safe_load(path.read_text()) | {"version": version}
    path.write_text(yaml.safe_dump(content))


def test_charts_are_published_once(fork: Fork) -> None:
    first = fork.run("tools/push-charts").stdout.split()
    names = [line.partition("@")[0].rpartition("/")[2] for line in first]
    assert names == [f"{chart}:{VERSIONS[chart]}" for chart in sorted(VERSIONS)]
    reference = first[0].partition("@")
    assert fork.run("tools/image-digest", reference[0]).stdout.strip() == reference[2]
    assert fork.run("tools/push-charts").stdout == ""


def test_a_registry_adopted_as_plain_http_is_used_without_tls(fork: Fork, remote_registry: str) -> None:
    """By default, Helm uses HTTPS for all hosts except localhost."""
    file = fork.root / "platform.yaml"
    adopted = PLATFORM.replace("registry.example.com/", f"{remote_registry}/")

    def push(*, ok: bool = True, prefix: str = "") -> subprocess.CompletedProcess[str]:
        return fork.run("tools/push-charts", ok=ok, PLAIN_HTTP="", REGISTRY_PREFIX=prefix)

    file.write_text(adopted)
    assert "HTTP response to HTTPS client" in push(ok=False).stderr
    file.write_text(adopted.replace("pipeline}", "pipeline, plainHttp: true}"))
    published = push().stdout.split()
    assert len(published) == len(VERSIONS)
    assert all(line.startswith(f"{remote_registry}/you/pipeline/charts/") for line in published)
    repository = f"{remote_registry}/you/pipeline/serving"
    digest = fork.push_something(repository, "by-digest")
    fork.run("tools/tag-image", f"{repository}@{digest}", "1.0.0", PLAIN_HTTP="", REGISTRY_PREFIX="")
    asked = fork.run("tools/image-digest", f"{repository}:1.0.0", PLAIN_HTTP="", REGISTRY_PREFIX="")
    assert asked.stdout.strip() == digest
    # The setting of one registry does not apply to another.
    other = remote_registry.replace("127.0.0.2", "127.0.0.3")
    assert "cannot look up" in push(ok=False, prefix=f"{other}/you/pipeline").stderr


def test_a_new_version_is_published_next_to_the_old_one(fork: Fork) -> None:
    fork.run("tools/push-charts")
    set_version(fork, "9.2.0")
    (published,) = fork.run("tools/push-charts").stdout.split()
    assert f"charts/{CHART}:9.2.0@sha256:" in published
    assert fork.run("tools/image-digest", f"{fork.prefix}/charts/{CHART}:{VERSIONS[CHART]}").stdout


def test_a_published_version_never_changes(fork: Fork) -> None:
    fork.run("tools/push-charts")
    before = fork.run("tools/image-digest", f"{fork.prefix}/charts/{CHART}:{VERSIONS[CHART]}").stdout
    values = fork.root / f"charts/{CHART}/values.yaml"
    values.write_text(values.read_text() + "\n# changed\n")
    training = fork.root / "charts/training/Chart.yaml"
    training.write_text(re.sub("(?m)^version: .*", "version: 9.2.0", training.read_text()))
    refused = fork.run("tools/push-charts", ok=False)
    assert f"other content: {CHART} {VERSIONS[CHART]}; raise version in Chart.yaml" in refused.stderr
    assert "# changed" in refused.stderr
    assert fork.run("tools/image-digest", f"{fork.prefix}/charts/{CHART}:{VERSIONS[CHART]}").stdout == before
    # If one chart is refused, none is published.
    assert not fork.run("tools/image-digest", f"{fork.prefix}/charts/training:9.2.0").stdout


def test_one_chart_can_be_named(fork: Fork) -> None:
    (published,) = fork.run("tools/push-charts", "training").stdout.split()
    assert f"charts/training:{VERSIONS['training']}@" in published
    assert "there is no charts/nothing/Chart.yaml" in fork.run("tools/push-charts", "nothing", ok=False).stderr


def test_a_chart_carries_the_library_that_it_is_made_with(fork: Fork, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "charts/common", fork.root / "charts/common", dirs_exist_ok=True)
    published = fork.run("tools/push-charts").stdout
    assert "charts/common:" not in published
    pulled = ["pull", f"oci://{fork.prefix}/charts/{CHART}", "--version", VERSIONS[CHART], "--untar", "--plain-http"]
    fork.run(".cache/tools/bin/helm", *pulled, "--untardir", str(tmp_path))
    assert (tmp_path / CHART / "charts/common/templates/_pods.tpl").is_file()
    fork.run(".cache/tools/bin/helm", "template", CHART, str(tmp_path / CHART))


def test_a_registry_that_is_down_is_not_treated_as_empty(fork: Fork) -> None:
    away = {"REGISTRY_PREFIX": "127.0.0.1:1/you/pipeline"}
    assert "cannot look up" in fork.run("tools/push-charts", ok=False, **away).stderr
    assert "cannot look up" in fork.run("tools/image", "serving", ok=False, **away).stderr


def test_the_place_is_what_platform_yaml_says(fork: Fork) -> None:
    assert fork.run("tools/registry-prefix", REGISTRY_PREFIX="").stdout.strip() == "registry.example.com/you/pipeline"
    shutil.copy(ROOT / "platform.yaml", fork.root)
    assert "gitops adopt" in fork.run("tools/registry-prefix", ok=False, REGISTRY_PREFIX="").stderr
    assert "leave out the scheme" in fork.run("tools/registry-prefix", ok=False, REGISTRY_PREFIX="oci://here/x").stderr


def test_the_tag_follows_what_an_image_is_made_of(fork: Fork) -> None:
    before = {name: fork.facts(name)["tag"] for name in IMAGES}
    assert len(set(before.values())) == len(IMAGES)
    (fork.root / "services/serving/src/serving/new.py").write_text("")
    fork.commit()
    after = {name: fork.facts(name)["tag"] for name in IMAGES}
    assert {name for name in IMAGES if before[name] != after[name]} == {"serving", "serving-sklearn", "serving-batch"}
    (fork.root / "README.md").write_text("no image holds this")
    fork.commit()
    assert {name: fork.facts(name)["tag"] for name in IMAGES} == after


def test_what_is_delivered_is_found(fork: Fork) -> None:
    facts = fork.facts("training")
    assert (facts["digest"], facts["reference"], facts["dockerfile"]) == ("", "", "training/Dockerfile")
    digest = fork.push_something(facts["repository"], "by-digest")
    fork.run("tools/tag-image", f"{facts['repository']}@{digest}", facts["tag"])
    assert fork.facts("training")["reference"] == f"{facts['repository']}:{facts['tag']}@{digest}"


def test_a_name_once_given_stays(fork: Fork) -> None:
    repository = f"{fork.prefix}/serving"
    one, other = (fork.push_something(repository, tag) for tag in ("one", "other"))
    for _ in range(2):
        fork.run("tools/tag-image", f"{repository}@{one}", "1.0.0")
    assert f"is already {one}" in fork.run("tools/tag-image", f"{repository}@{other}", "1.0.0", ok=False).stderr
    assert fork.run("tools/image-digest", f"{repository}:1.0.0").stdout.strip() == one


def test_a_release_names_the_digests_that_were_delivered(fork: Fork) -> None:
    refused = fork.run("tools/release-images", "v1.2.3", ok=False)
    assert "the image serving of this commit was never delivered" in refused.stderr
    digests = {}
    for name in IMAGES:
        facts = fork.facts(name)
        if name == "mlflow":
            refused = fork.run("tools/release-images", "v1.2.3", ok=False)
            assert "mlflow" in refused.stderr
            assert not fork.run("tools/image-digest", f"{fork.prefix}/serving:1.2.3").stdout
        digests[name] = fork.push_something(facts["repository"], facts["tag"])
        if name != "serving":
            fork.sign(digests[name])
    assert "not all images are signed" in fork.run("tools/release-images", "v1.2.3", ok=False).stderr
    assert not fork.run("tools/image-digest", f"{fork.prefix}/gitops:1.2.3").stdout
    fork.sign(digests["serving"])
    named = fork.run("tools/release-images", "v1.2.3").stdout.split()
    assert named == [
        f"{fork.prefix}/serving:1.2.3@{digests['serving']}",
        f"{fork.prefix}/serving:1.2.3-sklearn@{digests['serving-sklearn']}",
        f"{fork.prefix}/serving:1.2.3-batch@{digests['serving-batch']}",
        f"{fork.prefix}/training:1.2.3@{digests['training']}",
        f"{fork.prefix}/mlflow:1.2.3@{digests['mlflow']}",
        f"{fork.prefix}/gitops:1.2.3@{digests['gitops']}",
    ]
    notes = fork.run("tools/publish-release", "v1.2.3", "--dry-run").stdout
    assert "- It serves." in notes
    assert "- new" not in notes
    assert "- old" not in notes
    assert named[0] in notes
    assert "has no section" in fork.run("tools/publish-release", "v9.9.9", "--dry-run", ok=False).stderr
    assert "is no version" in fork.run("tools/release-images", "latest", ok=False).stderr


def test_a_release_is_made_of_the_branch_whatever_a_tag_names(fork: Fork) -> None:
    delivered = fork.deliver()
    named = fork.run("tools/publish-release", "v1.2.3", "--dry-run").stdout
    fork.git("tag", "v1.2.3")
    (fork.root / "services/serving/src/serving/newer.py").write_text("")
    (fork.root / "CHANGELOG.md").write_text("# Changelog\n")
    fork.commit()
    # A later repetition is the same release, because the tag names its commit.
    assert fork.run("tools/publish-release", "v1.2.3", "--dry-run").stdout == named
    assert delivered["serving"].partition("@")[2] in named

    fork.git("switch", "--quiet", "--create", "feature")
    (fork.root / "tools/release-images").write_text("#!/bin/sh\necho of the feature\n")
    fork.commit()
    fork.git("tag", "v1.2.2")
    fork.git("switch", "--quiet", "trunk")
    refused = fork.run("tools/publish-release", "v1.2.2", "--dry-run", ok=False)
    assert "was never part of the branch" in refused.stderr
    assert "of the feature" not in refused.stdout


def test_an_overtaken_delivery_is_not_the_latest(fork: Fork) -> None:
    def latest() -> str:
        return fork.run("tools/is-latest", REMOTE=str(fork.root)).stdout.strip()

    clone = Fork(root=fork.root.parent / "clone", prefix=fork.prefix, crane=fork.crane)
    fork.git("clone", "--quiet", str(fork.root), str(clone.root))
    (clone.root / ".venv").symlink_to(ROOT / ".venv")
    assert clone.run("tools/is-latest").stdout.strip() == "latest=true"
    (fork.root / "envs" / TARGETS[0] / "release.yaml").write_text("a machine's commit")
    fork.commit()
    assert clone.run("tools/is-latest").stdout.strip() == "latest=true"
    (fork.root / "training/src/training/new.py").write_text("")
    fork.commit()
    assert clone.run("tools/is-latest").stdout.strip() == "latest=false"
    assert latest() == "latest=true"


@pytest.mark.parametrize(("code", "after"), [(0, 0), (3, 0), (1, 1), (2, 2)])
def test_an_exit_code_for_held_pins_is_not_a_failure(fork: Fork, code: int, after: int) -> None:
    done = fork.run("tools/unless-held", "bash", "-c", f"exit {code}", ok=after == 0)
    assert done.returncode == after
    assert ("::notice::" in done.stdout) is (code == 3)


def test_what_a_branch_touches(fork: Fork) -> None:
    fork.git("switch", "--quiet", "--create", "proposal")
    (fork.root / "envs" / TARGETS[4] / "values.yaml").write_text("replicas: 2")
    fork.commit()
    fork.git("worktree", "add", "--quiet", "--detach", "proposal", "proposal")
    fork.git("switch", "--quiet", "trunk")
    assert fork.run("tools/touches", "proposal", "trunk", "envs/live").stdout.strip() == "touched=true"
    assert fork.run("tools/touches", "proposal", "trunk", "envs/first").stdout.strip() == "touched=false"
    assert fork.run("tools/touches", ".", "trunk", "envs").stdout.strip() == "touched=false"


def test_a_fact_is_what_platform_yaml_says_or_its_default(fork: Fork) -> None:
    assert fork.run("tools/fact", "branch").stdout == "trunk\n"
    assert fork.run("tools/fact", "registry.plain_http").stdout == "False\n"
    assert "nothing" in fork.run("tools/fact", "nothing", ok=False).stderr
    (fork.root / "platform.yaml").unlink()
    assert "platform.yaml is missing" in fork.run("tools/fact", "branch", ok=False).stderr


def test_the_version_of_a_chart(fork: Fork) -> None:
    set_version(fork, "1.4.0")
    assert fork.run("tools/chart-version", CHART).stdout == "version=1.4.0\npin=\nreference=\n"
    (published,) = fork.run("tools/push-charts", CHART).stdout.split()
    digest = published.partition("@")[2]
    assert fork.run("tools/chart-version", CHART).stdout.splitlines() == [
        "version=1.4.0",
        f"pin=1.4.0@{digest}",
        f"reference={fork.prefix}/charts/{CHART}@{digest}",
    ]
    fork.run("tools/chart-version", "nothing", ok=False)


def test_a_first_release_says_what_it_lacks(fork: Fork) -> None:
    """These checks come before any request to a cluster. Tests on a cluster prove the rest."""
    path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"

    def refused(*services: str) -> str:
        return fork.run("tools/first-release", *services, ok=False, PATH=path, KUBECONFIG="/dev/null").stderr

    assert "there is no service wine. platform.yaml has bottles, flowers." in refused("wine")
    assert "serving was not pushed from here" in refused("flowers")
    image = {"repository": f"{fork.prefix}/serving", "tag": "dev", "digest": f"sha256:{'0' * 64}"}
    (fork.root / ".cache/images.json").write_text(json.dumps({"serving": image}))
    for name in ("tulips", "roses"):
        shutil.copytree(ROOT / "models/iris", fork.root / "models" / name)
        file = fork.root / "models" / name / "training.yaml"
        file.write_text(file.read_text().replace("iris-classifier", f"{name}-classifier"))
    assert "0 folders under models/ register flowers-classifier, but it must be one" in refused("flowers")

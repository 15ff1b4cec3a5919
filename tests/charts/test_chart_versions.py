"""A changed chart must have a new version. Tested in a separate git repository."""

import subprocess
from pathlib import Path

import pytest

from tests.support.chart_versions import stale_versions


def git(repository: Path, *arguments: str) -> None:
    who = (
        "-c",
        "user.name=test",
        "-c",
        "user.email=test@example.com",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "tag.gpgsign=false",
    )
    subprocess.run(["git", *who, "-C", repository, *arguments], check=True, capture_output=True)


def write(repository: Path, version: str, template: str = "a: 1\n") -> None:
    chart = repository / "charts" / "web"
    (chart / "templates").mkdir(parents=True, exist_ok=True)
    (chart / "Chart.yaml").write_text(f"name: web\nversion: {version}\n")
    (chart / "templates" / "web.yaml").write_text(template)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    write(tmp_path, "0.1.0")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_nothing_was_released_yet(repository: Path) -> None:
    write(repository, "0.1.0", "a: 2\n")
    assert list(stale_versions(repository)) == []


@pytest.mark.parametrize("tag", ["web-0.1.0", "v1.2.3"])
def test_a_change_needs_a_new_version(repository: Path, tag: str) -> None:
    git(repository, "tag", tag)
    assert list(stale_versions(repository)) == []

    write(repository, "0.1.0", "a: 2\n")
    (sentence,) = stale_versions(repository)
    assert f"charts/web changed since {tag}" in sentence

    git(repository, "commit", "--quiet", "--all", "--message", "second")
    assert len(list(stale_versions(repository))) == 1

    write(repository, "0.1.1", "a: 2\n")
    assert list(stale_versions(repository)) == []


def test_a_new_file_is_a_change(repository: Path) -> None:
    git(repository, "tag", "v1.0.0")
    (repository / "charts" / "web" / "templates" / "more.yaml").write_text("b: 1\n")
    assert len(list(stale_versions(repository))) == 1


def test_a_library_is_a_part_of_the_charts_that_link_it(repository: Path) -> None:
    library = repository / "charts" / "common" / "templates"
    library.mkdir(parents=True)
    (library / "_names.tpl").write_text("one\n")
    (repository / "charts" / "common" / "Chart.yaml").write_text("name: common\nversion: 0.1.0\n")
    (repository / "charts" / "web" / "charts").mkdir()
    (repository / "charts" / "web" / "charts" / "common").symlink_to("../../common")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "with a library")
    git(repository, "tag", "v1.0.0")
    assert list(stale_versions(repository)) == []
    (library / "_names.tpl").write_text("two\n")
    sentences = list(stale_versions(repository))
    assert [sentence.split()[0] for sentence in sentences] == ["charts/common", "charts/web"]


def test_a_version_must_not_go_back(repository: Path) -> None:
    git(repository, "tag", "v1.0.0")
    write(repository, "0.0.9")
    (sentence,) = stale_versions(repository)
    assert "0.0.9, above 0.1.0" in sentence


@pytest.mark.parametrize("name", ["ci/1.yaml", "tests/web_test.yaml", "README.md.gotmpl"])
def test_what_is_not_packaged_needs_no_version(repository: Path, name: str) -> None:
    git(repository, "tag", "v1.0.0")
    path = repository / "charts" / "web" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("c: 1\n")
    assert list(stale_versions(repository)) == []


@pytest.mark.parametrize("tag", ["other-0.1.0", "web-next"])
def test_other_tags_do_not_count(repository: Path, tag: str) -> None:
    git(repository, "tag", tag)
    write(repository, "0.1.0", "a: 2\n")
    assert list(stale_versions(repository)) == []


def test_a_chart_that_is_new_since_the_tag_may_start_anywhere(repository: Path) -> None:
    git(repository, "tag", "v1.0.0")
    (repository / "charts" / "new").mkdir()
    (repository / "charts" / "new" / "Chart.yaml").write_text("name: new\nversion: 0.1.0\n")
    assert list(stale_versions(repository)) == []


def test_versions_are_compared_as_numbers(repository: Path) -> None:
    write(repository, "0.9.0")
    git(repository, "commit", "--quiet", "--all", "--message", "ninth")
    git(repository, "tag", "v1.0.0")
    write(repository, "0.10.0", "a: 2\n")
    assert list(stale_versions(repository)) == []

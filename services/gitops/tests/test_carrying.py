"""Bumps that wait in pull requests: another bump of the same service keeps the first one, and describes both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gitops.cli import execute
from gitops.pins.release import Release, read_release
from services.gitops.tests import promotion_setup
from services.gitops.tests.conftest import DIGEST, git
from services.gitops.tests.github import GitHub
from services.gitops.tests.mlflow_answers import answering, as_mlflow_of_many
from services.gitops.tests.promotion_setup import STAGING, push, release

# pytest finds fixtures by their names in the module.
clone, hub = promotion_setup.clone, promotion_setup.hub
BRANCH = "bump/staging/iris"


def image(tag: str) -> list[str]:
    return ["--image", f"registry.example.com/acme/serving:{tag}@{DIGEST}"]


def bump(*options: str) -> None:
    assert execute(["bump", "staging/iris", "--pr", *options]) == 0


def proposed(origin: Path) -> Release:
    return read_release(git(origin, "show", f"{BRANCH}:{STAGING}"), "file")


@pytest.fixture
def mlflow(clone: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with answering(as_mlflow_of_many) as (url, _):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield url


@pytest.mark.usefixtures("mlflow")
def test_a_bump_of_the_model_keeps_the_waiting_bump_of_the_image(origin: Path, hub: GitHub) -> None:
    bump(*image("3.0.0"))
    bump("--model", "9")
    both = proposed(origin)
    assert (both.image.tag, both.model.version) == ("3.0.0", "9")
    (pull,) = hub.opened()
    assert pull["title"] == "bump(staging/iris): image 3.0.0, iris-classifier 9"
    assert "image.tag: 1.2.0 -> 3.0.0" in pull["body"]
    assert git(origin, "rev-list", "--count", f"main..{BRANCH}") == "1"

    # In the other order, and with the same pin again: the newest counts.
    bump(*image("4.0.0"))
    assert (proposed(origin).image.tag, proposed(origin).model.version) == ("4.0.0", "9")
    head = git(origin, "rev-parse", BRANCH)
    bump("--model", "9")
    assert git(origin, "rev-parse", BRANCH) == head


@pytest.mark.usefixtures("mlflow")
def test_a_bump_keeps_what_was_pushed_to_the_main_branch_meanwhile(clone: Path, origin: Path, hub: GitHub) -> None:
    bump(*image("3.0.0"))
    push(clone, "staging", release(4), "bump(staging/iris): iris 4")
    bump("--model", "9")
    # Both change the lines of the image, so what is on the branch counts.
    assert (proposed(origin).image.tag, proposed(origin).model.version) == ("1.4.0", "9")


@pytest.mark.usefixtures("mlflow")
def test_a_closed_pull_request_is_not_carried_along(origin: Path, hub: GitHub) -> None:
    bump(*image("3.0.0"))
    hub.pulls[0]["state"] = "closed"
    bump("--model", "9")
    assert (proposed(origin).image.tag, proposed(origin).model.version) == ("1.2.0", "9")


def test_a_reverted_bump_closes_its_pull_request(hub: GitHub) -> None:
    """Otherwise the pull request would still merge automatically."""
    bump(*image("3.0.0"))
    bump(*image("1.2.0"))
    assert hub.opened() == []
    assert hub.comments == [(1, "The branch has the pins of staging/iris already.")]

"""Edits of YAML files that people write: what is asked for changes, and no other byte does."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.errors import BadInputError
from gitops.pins.images import with_image
from gitops.pins.release import Image
from gitops.pins.yaml_edit import edited
from services.gitops.tests.conftest import DIGEST, ROOT

OURS = [ROOT / "envs" / "platform" / f"{name}.yaml" for name in ("mlflow", "training")]
VALUES = """\
# The registry.
image:
    # Where it is built.
    repository: ghcr.io/acme/mlflow
    tag: ''  # none yet
    pullPolicy: IfNotPresent

imagePullSecrets: [{name: registry-credentials}]
args:
    - --one
    - two   # as it was
nested:
    - name: x
      list: [a, {b: c}]
size: 010
on: yes
long: 'a value that goes on, and on, and on, and on, and on, and on, and on, and on, and on, and on, and on, and on'
"""


def image(tag: str = "1.8.2") -> Image:
    return Image(repository="registry.example.com/acme/mlflow", tag=tag, digest=DIGEST)


def test_only_the_lines_of_the_image_change() -> None:
    before, after = VALUES.splitlines(), with_image(VALUES, image(), "mlflow.yaml").splitlines()
    assert [line for line in after if line not in before] == [
        "    repository: registry.example.com/acme/mlflow",
        "    tag: '1.8.2' # none yet",
        f"    digest: {DIGEST}",
    ]
    assert [line for line in before if line not in after] == [
        "    repository: ghcr.io/acme/mlflow",
        "    tag: ''  # none yet",
    ]


@settings(deadline=None, max_examples=30)
@given(tag=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(lambda tag: tag != "latest"))
def test_an_image_goes_in_and_nothing_else_moves_whatever_the_tag(tag: str) -> None:
    for path in OURS:
        text = path.read_text()
        changed = with_image(text, image(tag), path.name)
        before, after = yaml.safe_load(text), yaml.safe_load(changed)
        assert after["image"] == before["image"] | {"repository": image().repository, "tag": tag, "digest": DIGEST}
        assert {key: value for key, value in after.items() if key != "image"} == {
            key: value for key, value in before.items() if key != "image"
        }
        moved = [line for line in changed.splitlines() if line not in text.splitlines()]
        assert len(moved) <= 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &x {b: 1}\nc: *x\n", "cannot be edited"),
        ("- a\n", "cannot be edited"),
        ("a: [\n", "cannot be edited"),
        ("a: 1\na: 2\n", "cannot be edited"),
    ],
)
def test_what_cannot_be_edited_safely_is_left_to_people(text: str, why: str) -> None:
    with pytest.raises(BadInputError, match=f"values.yaml.*{why}"):
        edited(text, {"a": {"b": 2}}, "values.yaml")


@pytest.mark.parametrize("text", ["image: ghcr.io/acme/mlflow:1\n", "replicas: 1\n", "", "image: {}\n"])
def test_a_file_without_an_image_has_none_to_pin(text: str) -> None:
    with pytest.raises(BadInputError, match=r"mlflow\.yaml has no image\.repository"):
        with_image(text, image(), "mlflow.yaml")

"""Edits of YAML files that people write: only the requested values change, and no other byte."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.documents import loaded
from gitops.errors import BadInputError
from gitops.pins.images import with_image
from gitops.pins.release import Image
from gitops.pins.yaml_edit import edited
from services.gitops.tests.conftest import DIGEST

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
        "    tag: '1.8.2'  # none yet",
        f"    digest: {DIGEST}",
    ]
    assert [line for line in before if line not in after] == [
        "    repository: ghcr.io/acme/mlflow",
        "    tag: ''  # none yet",
    ]


@settings(max_examples=30)
@given(tag=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(lambda tag: tag != "latest"))
@pytest.mark.parametrize("text", [VALUES, "", "# pins\nimage: {repository: a/b, tag: v1, digest: x}\n"])
def test_only_the_image_changes_whatever_the_tag(text: str, tag: str) -> None:
    changed = with_image(text, image(tag), "mlflow.yaml")
    before, after = loaded(text) or {}, loaded(changed)
    pinned = {"repository": image().repository, "tag": tag, "digest": DIGEST}
    assert after == {**before, "image": {**before.get("image", {}), **pinned}}
    assert loaded(changed)["image"]["tag"] == yaml.safe_load(changed)["image"]["tag"] == tag
    moved = [line for line in changed.splitlines() if line not in text.splitlines()]
    assert len(moved) <= 4


FORMS = """\
%s# from several hands
release:
    chart: 1.4.0   # the fourth
    hold: ~
    metrics: {accuracy: 1.0e-3, loss: .5}
image:
  repository: 'a/b'
  tag: "1.8"
...
"""


@pytest.mark.parametrize("start", ["", "---\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({"chart": "1.5.0"}, {"    chart: 1.4.0   # the fourth": ["    chart: 1.5.0   # the fourth"]}),
        ({"hold": {"reason": "it's 5: no"}}, {"    hold: ~": ['    hold: {reason: "it\'s 5: no"}']}),
        (
            {"metrics": {"accuracy": 0.001}},
            {"    metrics: {accuracy: 1.0e-3, loss: .5}": ["    metrics: {accuracy: 0.001}"]},
        ),
        (
            {"chartDigest": "sha256:ab"},
            {
                "    metrics: {accuracy: 1.0e-3, loss: .5}": [
                    "    metrics: {accuracy: 1.0e-3, loss: .5}",
                    "    chartDigest: sha256:ab",
                ]
            },
        ),
    ],
)
def test_the_form_of_lines_is_kept(
    start: str, end: str, values: dict[str, object], lines: dict[str, list[str]]
) -> None:
    text = FORMS % start
    wanted = [new for old in text.splitlines() for new in lines.get(old, [old])]
    changed = edited(text.replace("\n", end), {"release": {**loaded(text)["release"], **values}}, "release.yaml")
    assert changed == "".join(line + end for line in wanted)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a: 1\nb:\n  c: 1\n  d:\n    - 2\n", "a: 1\n"),
        ("a: 1\r\nb:\r\n  c: 1 # of b\r\n\r\n# of d\r\nd: 2\r\n", "a: 1\r\n\r\n# of d\r\nd: 2\r\n"),
        ("# of b\nb: {c: 1,\n  d: 2} # too\na: 1\n...\n", "# of b\na: 1\n...\n"),
        ("a: 1\nb: {c: 1}", "a: 1\n"),
        ("a: 1\nb:\n  c: |\n    text\nd: 2\n", "a: 1\nd: 2\n"),
        ("--- {a: 1, b: {c: 1}}\n", "--- {a: 1, b: null}\n"),
        ("a: 1\nb: null\n", "a: 1\nb: null\n"),
        ("a: 1\n", "a: 1\n"),
    ],
)
def test_removing_a_key_removes_only_its_own_lines(text: str, left: str) -> None:
    assert edited(text, {}, "release.yaml", without=("b",)) == left


def test_mixed_line_ends_are_kept() -> None:
    assert edited("a: 1\r\nb: 2\nc: 3\r\n", {"b": 5}, "mixed.yaml") == "a: 1\r\nb: 5\nc: 3\r\n"
    assert edited("a: 1\r\nb: 2\nc: 3\r\n", {"d": 5}, "mixed.yaml") == "a: 1\r\nb: 2\nc: 3\r\nd: 5\r\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &x {b: 1}\nc: *x\n", "cannot edit|cannot be edited"),
        ("- a\n", "cannot edit|cannot be edited"),
        ("a: [\n", "cannot edit|cannot be edited"),
        ("a: 1\na: 2\n", "cannot edit|cannot be edited"),
    ],
)
def test_a_file_that_cannot_be_edited_safely_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadInputError, match=f"values.yaml.*{why}"):
        edited(text, {"a": {"b": 2}}, "values.yaml")


@pytest.mark.parametrize("text", ["image: ghcr.io/acme/mlflow:1\n", "- a\n", "image: [\n"])
def test_a_file_of_another_form_has_no_image_to_pin(text: str) -> None:
    with pytest.raises(BadInputError, match=r"mlflow\.yaml (does not name an image|is not valid YAML)"):
        with_image(text, image(), "mlflow.yaml")

"""The release file: its required content, and edits that change only pins and keep comments."""

import io
import string
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from gitops.errors import BadInputError
from gitops.pins.release import (
    Change,
    Hold,
    Image,
    Model,
    Notes,
    Release,
    changes,
    load_release,
    parse_image,
    read_release,
    same_but_moment,
    written,
)

DIGEST = "sha256:" + "0f" * 32

digests = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format)
words = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=12).map(lambda word: "w" + word)
sentences = st.text(string.ascii_letters + string.digits + " .,:#'\"{}[]&*!|>%@`-äß", min_size=1, max_size=40)
numbers = st.integers(0, 99)
metrics = st.dictionaries(words, st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=3)
holds = st.one_of(st.none(), sentences, st.builds(Hold, reason=sentences, since=words, by=sentences))
releases = st.builds(
    Release,
    release=st.builds(
        Notes, chart=st.builds("{}.{}.{}".format, numbers, numbers, numbers), hold=holds, metrics=metrics
    ),
    image=st.builds(
        Image,
        repository=words,
        # Tags that YAML would read as another type without quotes.
        tag=st.one_of(words, st.sampled_from(["1.8", "010", "1e3", "true", "null", "2026-11-23"])),
        digest=digests,
    ),
    model=st.builds(
        Model,
        name=words,
        version=st.integers(1, 10**6).map(str),
        digest=digests,
        uri=words.map("s3://mlflow/{}".format),
    ),
)


def release() -> Release:
    return Release(
        release=Notes(chart="1.4.0", metrics={"accuracy": 0.97, "log_loss": 0.11}),
        image=Image(repository="registry.example.com/acme/serving", tag="1.8.2", digest=DIGEST),
        model=Model(name="iris-classifier", version="7", digest=DIGEST, uri="s3://mlflow/1/models/m-1/artifacts"),
    )


def commented(text: str, remarks: list[str]) -> str:
    """Insert comments before, after and between the lines of a release file."""
    lines = text.splitlines()
    for number, remark in enumerate(remarks):
        at = (number * 7) % len(lines)
        if number % 2:
            lines[at] += f"  # {remark}"
        else:
            indent = len(lines[at]) - len(lines[at].lstrip())
            lines.insert(at, " " * indent + f"# {remark}")
    return "\n".join(lines) + "\n"


def in_blocks(release: Release) -> str:
    editor = YAML()
    editor.width = 4096
    stream = io.StringIO()
    editor.dump(msgspec.to_builtins(release), stream)
    return stream.getvalue()


@pytest.mark.slow
@settings(max_examples=60)
@given(
    before=releases, after=releases, remarks=st.lists(words, min_size=1, max_size=12, unique=True), block=st.booleans()
)
def test_an_edit_keeps_every_comment_and_writes_exactly_the_new_pins(
    before: Release, after: Release, remarks: list[str], block: bool
) -> None:
    # Test the tool's own form, and a form with blocks only, as a person may write it.
    text = in_blocks(before) if block else written(None, before, "staging")
    marked = [f"remark-{number}-{remark}" for number, remark in enumerate(remarks)]
    # A comment inside a scalar of two lines would become content.
    text = commented(text, marked) if yaml_lines_are_whole(text) else text + "".join(f"# {mark}\n" for mark in marked)
    content = written(text, after, "staging")
    assert read_release(content, "file") == after
    assert [mark for mark in marked if f"# {mark}" not in content] == []


def yaml_lines_are_whole(text: str) -> bool:
    return all(":" in line or line.lstrip().startswith("#") for line in text.splitlines())


@settings(max_examples=60)
@given(release=releases)
def test_a_new_file_is_read_back_and_writing_it_again_changes_no_byte(release: Release) -> None:
    content = written(None, release, "staging")
    assert read_release(content, "file") == release
    assert written(content, release, "staging") == content
    assert changes(release, release) == []


def test_an_edit_changes_only_the_lines_of_changed_pins() -> None:
    text = (
        "# pins of staging\n"
        "release: {chart: 1.4.0, hold: null, metrics: {accuracy: 0.97, log_loss: 0.11}}  # notes\n"
        "\n"
        "image:\n"
        "    repository: 'registry.example.com/acme/serving'\n"
        f'    tag: 1.8.2   # built by hand\n    digest: "{DIGEST}"\n'
        "# the model\n"
        f'model: {{name: iris-classifier, version: "7", digest: {DIGEST}, uri: s3://mlflow/1/models/m-1/artifacts}}\n'
    )
    after = msgspec.structs.replace(release(), image=msgspec.structs.replace(release().image, tag="1.9.0"))
    before_lines, after_lines = text.splitlines(), written(text, after, "staging").splitlines()
    assert [
        line for line in before_lines if "1.8.2" not in line and line.strip() not in map(str.strip, after_lines)
    ] == []
    assert [line.strip() for line in after_lines if line not in before_lines and "tag" in line] == [
        "tag: 1.9.0   # built by hand"
    ]


def test_each_changed_pin_is_listed() -> None:
    after = msgspec.structs.replace(
        release(),
        release=Notes(chart="1.4.0", metrics={"accuracy": 0.98}),
        model=msgspec.structs.replace(release().model, version="8"),
    )
    assert changes(release(), after) == [
        Change(pin="metrics.accuracy", before=0.97, after=0.98),
        Change(pin="model.version", before="7", after="8"),
        Change(pin="metrics.log_loss", before=0.11, after=None),
    ]
    assert [change.pin for change in changes(None, after)][:2] == ["chart", "metrics.accuracy"]


@pytest.mark.parametrize(
    ("line", "broken", "named"),
    [
        (f"digest: {DIGEST}", "digest: sha256:abc", r"\$\.image\.digest"),
        ("tag: 1.8.2", "tag: latest", r"\$\.image\.tag"),
        ('version: "7"', "version: 7", r"\$\.model\.version"),
        ("chart: 1.4.0", "chart: main", r"\$\.release\.chart"),
        ("uri: s3", "uri: http", r"\$\.model\.uri"),
        ("name: iris-classifier", "nam: iris-classifier", r"missing required field `name`|unknown field `nam`"),
        ("image:", "image: [", "is not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_deployed_is_refused_with_the_field(line: str, broken: str, named: str) -> None:
    text = written(None, release(), "staging")
    assert line in text
    with pytest.raises(BadInputError, match=rf"(?s)envs/staging/release\.yaml.*{named}"):
        read_release(text.replace(line, broken, 1), "envs/staging/release.yaml")


def test_a_model_has_a_digest_of_either_version_and_an_image_sha256() -> None:
    text = written(None, release(), "staging")
    head, model = text.split("model:", 1)
    newer = f"{head}model:{model.replace('sha256:', 'sha256-v2:', 1)}"
    assert read_release(newer, "release.yaml").model.digest == DIGEST.replace("sha256:", "sha256-v2:")
    with pytest.raises(BadInputError, match=r"\$\.image\.digest"):
        read_release(text.replace("sha256:", "sha256-v2:", 1), "release.yaml")


def test_an_image_reference_is_parsed() -> None:
    image = parse_image(f"127.0.0.1:5000/acme/serving:1.8.2-sklearn@{DIGEST}")
    assert image == Image(repository="127.0.0.1:5000/acme/serving", tag="1.8.2-sklearn", digest=DIGEST)


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ("ghcr.io/acme/serving:1.8.2", "has no digest"),
        (f"ghcr.io/acme/serving@{DIGEST}", "has no tag"),
        (f"127.0.0.1:5000/acme/serving@{DIGEST}", "has no tag"),
        (f"ghcr.io/acme/serving:latest@{DIGEST}", r"\$\.tag"),
        ("ghcr.io/acme/serving:1.8.2@sha256:12", r"\$\.digest"),
        ("", "has no digest"),
    ],
)
def test_an_image_without_tag_or_digest_is_refused(reference: str, named: str) -> None:
    with pytest.raises(BadInputError, match=named):
        parse_image(reference)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"# gr\xfc\xdfe\nrelease: {}\n", "it is not text in UTF-8"),
        (b"release: !!int x\n", "a value in it is not what its tag says"),
        (b"release: !!timestamp x\n", "a value in it is not what its tag says"),
        (b"release: " + b"9" * 5000 + b"\n", "a value in it is not what its tag says"),
    ],
)
def test_errors_of_the_parser_name_the_file(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "release.yaml").write_bytes(content)
    with pytest.raises(BadInputError, match=rf"^envs/qa/iris/release\.yaml is not valid YAML: {why}"):
        load_release(tmp_path / "release.yaml", Path("envs/qa/iris/release.yaml"))


def test_a_hold_for_the_same_reason_is_no_change() -> None:
    def held(reason: str, since: str, version: str = "7") -> str:
        hold, before = Hold(reason=reason, since=since, by="Ada"), release()
        notes, model = (
            msgspec.structs.replace(before.release, hold=hold),
            msgspec.structs.replace(before.model, version=version),
        )
        return written(None, msgspec.structs.replace(before, release=notes, model=model), "file")

    first = held("slow", "2026-11-29T20:00:00+00:00")
    assert same_but_moment(first, held("slow", "2026-11-29T20:05:00+00:00"))
    other = held("3.9 % fail", "2026-11-29T20:05:00+00:00")
    assert not same_but_moment(first, other)
    assert same_but_moment(first, other, measured=True)
    assert not same_but_moment(first, held("slow", "2026-11-29T20:05:00+00:00", "8"), measured=True)
    assert not same_but_moment(first, written(None, release(), "file"), measured=True)
    assert not same_but_moment(first, None)
    assert not same_but_moment("store: minio\n", "store: seaweedfs\n")

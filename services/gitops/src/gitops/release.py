"""What an environment runs: the pins in envs/ENV/release.yaml, reading and editing them."""

import io
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import RoundTripConstructor, SafeConstructor
from ruamel.yaml.error import CommentMark, YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from ruamel.yaml.tokens import CommentToken

from gitops.errors import BadInputError

Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
ChartVersion = Annotated[str, Meta(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$")]
Tag = Annotated[str, Meta(pattern=r"^(?!latest$)[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
RegistryNumber = Annotated[str, Meta(pattern=r"^[1-9][0-9]*$")]
Uri = Annotated[str, Meta(pattern=r"^s3://[^/]+/.+$")]
# Strings that every reader of YAML, old rules or new, takes for strings without quotes.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9./:@_-]*[A-Za-z0-9]|[0-9]+\.[0-9]+\.[0-9]+")
_NOT_STRINGS = frozenset({"true", "false", "yes", "no", "on", "off", "null"})
_IMAGE = re.compile(r"(?P<repository>[^\s@]+?)(:(?P<tag>[^\s:/@]+))?(@(?P<digest>\S+))?")


class Hold(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why automation leaves an environment alone, since when (ISO 8601) and by whom."""

    reason: str
    since: str = ""
    by: str = ""


class Notes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the templates ignore: the chart's version, the hold, and the model's figures on held-out data."""

    chart: ChartVersion
    hold: Hold | str | None = None
    metrics: dict[str, float] = {}


class Image(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The serving image; the digest decides, the tag is for people."""

    repository: Annotated[str, Meta(min_length=1)]
    tag: Tag
    digest: Digest


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model version: its registry number, content digest and folder in the artifact store."""

    name: Annotated[str, Meta(min_length=1)]
    version: RegistryNumber
    digest: Digest
    uri: Uri


class Release(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    release: Notes
    image: Image
    model: Model

    @property
    def held(self) -> str | None:
        """The reason of the hold, or None while there is none."""
        hold = self.release.hold
        return hold.reason if isinstance(hold, Hold) else hold


class Change(Struct, frozen=True, kw_only=True):
    """One pin that differs; `before` is None where there was none, `after` where there is none any more."""

    pin: str
    before: Any
    after: Any


def read_release(text: str, name: str) -> Release:
    """Decode a release file.

    Args:
        text: Its content.
        name: What to call it in an error.

    Raises:
        BadInputError: It is no YAML, or a field is missing, unknown or of the wrong form.
    """
    try:
        return msgspec.convert(YAML(typ="safe", pure=True).load(text), Release)
    except YAMLError as error:
        raise BadInputError(f"{name} is no YAML: {error}.") from None
    except msgspec.ValidationError as error:
        raise BadInputError(f"{name}: {error}. Mend it, or write it anew with `gitops release`.") from None


def load_release(path: Path, name: Path) -> Release | None:
    """Read a release file; None where there is none, which means that nothing is released.

    Raises:
        BadInputError: The file is not as it should be.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return read_release(text, str(name))


def parse_image(reference: str) -> Image:
    """Split REPOSITORY:TAG@sha256:DIGEST.

    Raises:
        BadInputError: A part is missing or of the wrong form.
    """
    match = _IMAGE.fullmatch(reference)
    parts = match.groupdict() if match else {}
    for part, example in (("digest", "@sha256:..."), ("tag", ":1.8.2")):
        if not parts.get(part):
            raise BadInputError(
                f"--image: {reference!r} has no {part}: name it as REPOSITORY:TAG@sha256:DIGEST, with {example}."
            )
    try:
        return msgspec.convert(parts, Image)
    except msgspec.ValidationError as error:
        raise BadInputError(f"--image: {reference!r} is no image reference: {error}.") from None


def changes(before: Release | None, after: Release) -> list[Change]:
    """The pins in which two releases differ, in the order of the file."""
    old, new = _flat(before), _flat(after)
    names = [*new, *(name for name in old if name not in new)]
    return [
        Change(pin=name, before=old.get(name), after=new.get(name)) for name in names if old.get(name) != new.get(name)
    ]


def written(text: str | None, after: Release, environment: str) -> str:
    """Return a release file's content with other pins; what did not change keeps its form, and every comment stays.

    Args:
        text: The content so far; None where there is no file yet.
        after: The pins to write.
        environment: The file's environment, for the heading of a new one.

    Raises:
        BadInputError: The content so far cannot be edited.
    """
    heading = f"# What {environment} runs. Written by `gitops`; tuning belongs in values.yaml.\n"
    editor = _editor(text or "")
    try:
        document = editor.load(heading if text is None else text)
        if document is None:
            document = CommentedMap()
        _merge(document, msgspec.to_builtins(after))
    except (YAMLError, TypeError, AttributeError) as error:
        raise BadInputError(f"The release file of {environment} cannot be edited: {error}.") from None
    stream = io.StringIO()
    editor.dump(document, stream)
    content = stream.getvalue() if text is not None else heading + stream.getvalue()
    if read_release(content, f"the edited release file of {environment}") != after:
        raise BadInputError(
            f"The release file of {environment} uses YAML that cannot be edited (anchors?): edit it by hand."
        )
    return content


class _Constructor(RoundTripConstructor):
    """Reads floats as floats: the library's own kind, which remembers its form, loses digits."""


class _Representer(RoundTripRepresenter):
    """Writes floats so that readers by YAML 1.1, which ask for a dot, take them for floats too, and null as a word."""


def _represent_float(representer: RoundTripRepresenter, value: float) -> ScalarNode:
    text = repr(value)
    if "." not in text:
        text = text.replace("e", ".0e")
    return representer.represent_scalar("tag:yaml.org,2002:float", text)


def _represent_none(representer: RoundTripRepresenter, _value: None) -> ScalarNode:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


_Constructor.add_constructor("tag:yaml.org,2002:float", SafeConstructor.construct_yaml_float)
_Representer.add_representer(float, _represent_float)
_Representer.add_representer(type(None), _represent_none)


def _editor(text: str) -> YAML:
    """An editor that keeps the text's own indentation, quotes and long lines."""
    editor = YAML()
    editor.Constructor = _Constructor
    editor.Representer = _Representer
    editor.preserve_quotes = True
    editor.width = 4096
    if indented := re.search(r"^( +)[^ #\n]", text, re.MULTILINE):
        editor.map_indent = len(indented[1])
    return editor


def _flat(release: Release | None) -> dict[str, Any]:
    if release is None:
        return {}
    flat: dict[str, Any] = {}
    for section, fields in msgspec.to_builtins(release).items():
        for name, value in fields.items():
            title = name if section == "release" else f"{section}.{name}"
            flat |= {f"{title}.{key}": inner for key, inner in value.items()} if name == "metrics" else {title: value}
    return flat


def _merge(node: CommentedMap, values: dict[str, Any]) -> None:
    for name, value in values.items():
        present = node.get(name)
        if name in node and present == value:
            continue
        if isinstance(present, CommentedMap) and isinstance(value, dict) and _mergeable(present, value):
            _merge(present, value)
        else:
            _replace(node, name, value)


def _mergeable(present: CommentedMap, value: dict[str, Any]) -> bool:
    # A key that goes would take the comments behind it along.
    return present.keys() <= value.keys() and bool(present)


def _replace(node: CommentedMap, name: str, value: Any) -> None:
    kept = _comments(node.get(name))
    quoted = name == "version" or isinstance(node.get(name), DoubleQuotedScalarString)
    node[name] = _node(value, quoted=quoted)
    if kept:
        _append_comment(node, name, kept)


def _node(value: Any, *, quoted: bool = False) -> Any:
    if isinstance(value, dict):
        inner = CommentedMap({key: _node(entry, quoted=key == "version") for key, entry in value.items()})
        # Sections stand in blocks; metrics, numbers alone, on one line.
        if all(isinstance(entry, float) for entry in value.values()):
            inner.fa.set_flow_style()
        return inner
    if isinstance(value, str) and (quoted or not _PLAIN.fullmatch(value) or value.lower() in _NOT_STRINGS):
        return DoubleQuotedScalarString(value)
    return value


def _comments(value: Any) -> str:
    """The comments inside a mapping, and behind it up to the next key, which YAML libraries count to its last key."""
    if not isinstance(value, CommentedMap):
        return ""
    text = "".join(token.value for token in (value.ca.comment or [None, None])[1] or [])
    for key in value:
        for token in value.ca.items.get(key, []):
            for one in token if isinstance(token, list) else [token]:
                text += one.value if one else ""
        text += _comments(value[key])
    return text


def _append_comment(node: CommentedMap, name: str, text: str) -> None:
    tokens = node.ca.items.setdefault(name, [None, None, None, None])
    before = tokens[2].value if tokens[2] else ""
    tokens[2] = CommentToken(before + text, CommentMark(0), None)

"""What a service runs in an environment: the pins in envs/ENV/SERVICE/release.yaml, reading and editing them."""

import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gitops.documents import YAMLError, loaded
from gitops.errors import BadInputError
from gitops.pins.yaml_edit import edited
from gitops.programs import EXACT
from modelformat.digest import PATTERN

# The same everywhere, so that what is promoted is the same file.
_HEADING = "# What runs here. Written by `gitops`; tuning belongs in values.yaml.\n"

Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
ContentDigest = Annotated[str, Meta(pattern=rf"^{PATTERN}$")]
ChartVersion = Annotated[str, Meta(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$")]
Tag = Annotated[str, Meta(pattern=r"^(?!latest$)[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
RegistryNumber = Annotated[str, Meta(pattern=r"^[1-9][0-9]*$")]
Uri = Annotated[str, Meta(pattern=r"^s3://[^/]+/.+$")]
_WAY_OUT = (
    "If the change is not committed, `git restore` the file. If it is, fix it by hand, or restore the last readable "
    "pins: `gitops rollback ENV/SERVICE`."
)
# What serving takes where a pin does not say.
DEFAULT_SAMPLE = 0.1
# The first version of the serving chart with the values `model.release` and `shadow`.
_SINCE = (0, 2, 0)
_IMAGE = re.compile(r"(?P<repository>[^\s@]+?)(:(?P<tag>[^\s:/@]+))?(@(?P<digest>\S+))?")


class Hold(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why automation leaves a service alone, since when (ISO 8601) and by whom."""

    reason: str
    since: str = ""
    by: str = ""


class Notes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What the templates ignore: the chart's version, the hold, and the model's figures on held-out data.

    `chart_digest` is the content of that version in the registry, where it was looked up.
    """

    chart: ChartVersion
    chart_digest: Digest | UnsetType | None = UNSET
    hold: Hold | str | None = None
    metrics: dict[str, float] = {}


class Image(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The serving image; the digest decides, the tag is for people.

    `batch_digest` is the variant of the same repository that answers files, where it was named.
    """

    repository: Annotated[str, Meta(min_length=1)]
    tag: Tag
    digest: Digest
    batch_digest: Digest | UnsetType | None = UNSET


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model version: its registry number, release, content digest and folder in the artifact store."""

    name: Annotated[str, Meta(min_length=1)]
    version: RegistryNumber
    release: str | UnsetType | None = UNSET
    digest: ContentDigest
    uri: Uri

    def is_version(self, other: "Model") -> bool:
        """Whether it is that version, by its content too: numbers of a new registration start again."""
        return (self.name, self.version, self.digest) == (other.name, other.version, other.digest)


class Shadow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another version of the same model that answers the same rows unseen, those of `sample` of the requests."""

    version: RegistryNumber
    release: str | UnsetType | None = UNSET
    digest: ContentDigest
    uri: Uri
    sample: Annotated[float, Meta(gt=0, le=1)] | UnsetType = UNSET

    @property
    def share(self) -> float:
        """Of how many requests it sees the rows, from 0 to 1."""
        return DEFAULT_SAMPLE if isinstance(self.sample, UnsetType) else self.sample

    def is_model(self, model: "Model | Shadow") -> bool:
        """Whether it is that version, by its content too: numbers of a new registration start again."""
        return (self.version, self.digest, self.uri) == (model.version, model.digest, model.uri)


class Release(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    release: Notes
    image: Image
    model: Model
    shadow: Shadow | UnsetType | None = UNSET

    @property
    def held(self) -> str | None:
        """The reason of the hold, or None while there is none."""
        hold = self.release.hold
        return hold.reason if isinstance(hold, Hold) else hold

    @property
    def tried(self) -> Shadow | None:
        """The shadow, where there is one."""
        return self.shadow if isinstance(self.shadow, Shadow) else None

    def tried_beside(self, shadow: Shadow | None) -> "Release":
        """The same with a shadow, or none: also where it is what answers now, or the chart knows no shadows yet."""
        kept = shadow and not shadow.is_model(self.model) and knows_shadows(self.release.chart)
        return msgspec.structs.replace(self, shadow=shadow if kept else UNSET)


class Change(Struct, frozen=True, kw_only=True):
    """One pin that differs; `before` is None where there was none, `after` where there is none any more."""

    pin: str
    before: Any
    after: Any


def knows_releases(chart: str) -> bool:
    """Whether a version of the serving chart takes what people call a model's version."""
    return tuple(int(part) for part in chart.partition("-")[0].split(".")) >= _SINCE


def knows_batches(chart: str) -> bool:
    """Whether a version of the serving chart answers files, with a separate image."""
    return knows_releases(chart)


def knows_shadows(chart: str) -> bool:
    """Whether a version of the serving chart runs a shadow; its schema refuses what it does not know."""
    return knows_releases(chart)


def read_release(text: str, name: str) -> Release:
    """Decode a release file.

    Args:
        text: Its content.
        name: What to call it in an error.

    Raises:
        BadInputError: It is not valid YAML, or a field is missing, unknown or of the wrong form.
    """
    try:
        return msgspec.convert(loaded(text), Release)
    except YAMLError as error:
        raise BadInputError(f"{name} is not valid YAML: {error}. {_WAY_OUT}") from None
    except msgspec.ValidationError as error:
        raise BadInputError(f"{name}: {error}. {_WAY_OUT}") from None


def load_release(path: Path, name: Path) -> Release | None:
    """Read a release file; None where there is none, which means that nothing is released.

    Raises:
        BadInputError: The file is not as it should be.
    """
    try:
        text = path.read_text(encoding="utf-8", errors=EXACT)
    except FileNotFoundError:
        return None
    return read_release(text, str(name))


def parse_image(reference: str, repository: str | None = None, option: str = "--image") -> Image:
    """Split REPOSITORY:TAG@sha256:DIGEST, or TAG@sha256:DIGEST where the repository is known.

    Args:
        reference: The image.
        repository: Where it is when the reference does not say.
        option: Where it was named, for an error.

    Raises:
        BadInputError: A part is missing or of the wrong form.
    """
    match = _IMAGE.fullmatch(reference)
    parts = match.groupdict() if match else {}
    # A word alone before the digest is a tag: every repository has a registry before it.
    if repository and not parts.get("tag") and "/" not in parts.get("repository", "/"):
        parts |= {"repository": repository, "tag": parts["repository"]}
    for part, example in (("digest", "@sha256:..."), ("tag", ":1.8.2")):
        if not parts.get(part):
            raise BadInputError(
                f"{option}: {reference!r} has no {part}: name it as REPOSITORY:TAG@sha256:DIGEST, with {example}."
            )
    try:
        return msgspec.convert(parts, Image)
    except msgspec.ValidationError as error:
        raise BadInputError(f"{option}: {reference!r} is not an image reference: {error}.") from None


def changes(before: Release | None, after: Release) -> list[Change]:
    """The pins in which two releases differ, in the order of the file."""
    old, new = _flat(before), _flat(after)
    names = [*new, *(name for name in old if name not in new)]
    return [
        Change(pin=name, before=old.get(name), after=new.get(name)) for name in names if old.get(name) != new.get(name)
    ]


def same_but_moment(one: str | None, other: str | None, *, measured: bool = False) -> bool:
    """Whether the contents of two release files say the same, but for the moment of a hold.

    Who says again why a service is held, at another time, says nothing new.

    Args:
        one: One content; None where there is no file.
        other: The other.
        measured: Whether the reasons of holds are measurements, which differ a little each time, and are not compared.
    """
    if one is None or other is None or one == other:
        return one == other
    try:
        return _without_moment(read_release(one, ""), measured) == _without_moment(read_release(other, ""), measured)
    except BadInputError:
        return False


def _without_moment(release: Release, measured: bool) -> Release:
    hold = release.release.hold
    if not isinstance(hold, Hold):
        return release
    kept = Hold(reason="") if measured else Hold(reason=hold.reason, by=hold.by)
    return msgspec.structs.replace(release, release=msgspec.structs.replace(release.release, hold=kept))


def written(text: str | None, after: Release, name: str) -> str:
    """Return a release file's content with other pins; what did not change keeps its form, and every comment stays.

    Args:
        text: The content so far; None where there is no file yet.
        after: The pins to write.
        name: What to call the file in an error.

    Raises:
        BadInputError: The content so far cannot be edited.
    """
    values = msgspec.to_builtins(after)
    if after.tried is None:
        values.pop("shadow", None)
    content = edited(text or "", values, name, without=() if after.tried else ("shadow",))
    return content if text is not None else _HEADING + content


def _flat(release: Release | None) -> dict[str, Any]:
    if release is None:
        return {}
    flat: dict[str, Any] = {}
    for section, fields in msgspec.to_builtins(release).items():
        for name, value in (fields or {}).items():
            title = name if section == "release" else f"{section}.{name}"
            flat |= {f"{title}.{key}": inner for key, inner in value.items()} if name == "metrics" else {title: value}
    return flat

"""What a service runs in an environment: read and edit the pins in envs/ENV/SERVICE/release.yaml."""

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

# The same in every environment, because a promotion copies the file.
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
# The default of serving.
DEFAULT_SAMPLE = 0.1
# The first version of the serving chart with the values `model.release` and `shadow`.
_SINCE = (0, 2, 0)
_IMAGE = re.compile(r"(?P<repository>[^\s@]+?)(:(?P<tag>[^\s:/@]+))?(@(?P<digest>\S+))?")


class Hold(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why automation skips a service, since when (ISO 8601), and who decided it."""

    reason: str
    since: str = ""
    by: str = ""


class Notes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Fields that the templates ignore: the chart's version, the hold, and the model's metrics on held-out data.

    `chart_digest` is the digest of that version in the registry, if it was looked up.
    """

    chart: ChartVersion
    chart_digest: Digest | UnsetType | None = UNSET
    hold: Hold | str | None = None
    metrics: dict[str, float] = {}


class Image(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The serving image; the digest decides, the tag is for people.

    `batch_digest` is the variant for batch scoring in the same repository, if there is one.
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
        """Whether it is the same version, also by digest: a model that is registered again starts with version 1."""
        return (self.name, self.version, self.digest) == (other.name, other.version, other.digest)


class Shadow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another version of the same model that gets the rows of a share of requests (`sample`), but does not answer."""

    version: RegistryNumber
    release: str | UnsetType | None = UNSET
    digest: ContentDigest
    uri: Uri
    sample: Annotated[float, Meta(gt=0, le=1)] | UnsetType = UNSET

    @property
    def share(self) -> float:
        """Return the share of requests whose rows it gets, from 0 to 1."""
        return DEFAULT_SAMPLE if isinstance(self.sample, UnsetType) else self.sample

    def is_model(self, model: "Model | Shadow") -> bool:
        """Whether it is the same version, also by digest: a model that is registered again starts with version 1."""
        return (self.version, self.digest, self.uri) == (model.version, model.digest, model.uri)


class Release(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole content of the file."""

    release: Notes
    image: Image
    model: Model
    shadow: Shadow | UnsetType | None = UNSET

    @property
    def held(self) -> str | None:
        """Return the reason of the hold, or None if there is no hold."""
        hold = self.release.hold
        return hold.reason if isinstance(hold, Hold) else hold

    @property
    def tried(self) -> Shadow | None:
        """Return the shadow, if there is one."""
        return self.shadow if isinstance(self.shadow, Shadow) else None

    def tried_beside(self, shadow: Shadow | None) -> "Release":
        """Return the release with a shadow, or with none if that is the model itself or the chart has no shadows."""
        kept = shadow and not shadow.is_model(self.model) and knows_shadows(self.release.chart)
        return msgspec.structs.replace(self, shadow=shadow if kept else UNSET)


class Change(Struct, frozen=True, kw_only=True):
    """A pin that differs; `before` is None if it is new, `after` if it was removed."""

    pin: str
    before: Any
    after: Any


def knows_releases(chart: str) -> bool:
    """Whether a version of the serving chart has a value for the model's version name."""
    return tuple(int(part) for part in chart.partition("-")[0].split(".")) >= _SINCE


def knows_batches(chart: str) -> bool:
    """Whether a version of the serving chart supports batch scoring, with a separate image."""
    return knows_releases(chart)


def knows_shadows(chart: str) -> bool:
    """Whether a version of the serving chart supports shadows; its schema refuses unknown values."""
    return knows_releases(chart)


def read_release(text: str, name: str) -> Release:
    """Decode a release file.

    Args:
        text: The content.
        name: The name of the file, for an error.

    Raises:
        BadInputError: It is not valid YAML, or a field is missing, unknown or invalid.
    """
    try:
        return msgspec.convert(loaded(text), Release)
    except YAMLError as error:
        raise BadInputError(f"{name} is not valid YAML: {error}. {_WAY_OUT}") from None
    except msgspec.ValidationError as error:
        raise BadInputError(f"{name}: {error}. {_WAY_OUT}") from None


def load_release(path: Path, name: Path) -> Release | None:
    """Read a release file; None if it does not exist, which means that nothing is released.

    Raises:
        BadInputError: The file is invalid.
    """
    try:
        text = path.read_text(encoding="utf-8", errors=EXACT)
    except FileNotFoundError:
        return None
    return read_release(text, str(name))


def parse_image(reference: str, repository: str | None = None, option: str = "--image") -> Image:
    """Parse REPOSITORY:TAG@sha256:DIGEST, or TAG@sha256:DIGEST if the repository is known.

    Args:
        reference: The image.
        repository: The repository, if the reference does not name one.
        option: The option of the reference, for an error.

    Raises:
        BadInputError: A part is missing or invalid.
    """
    match = _IMAGE.fullmatch(reference)
    parts = match.groupdict() if match else {}
    # A single word before the digest is a tag, because every repository begins with a registry.
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
    """Return the pins in which two releases differ, in the order of the file."""
    old, new = _flat(before), _flat(after)
    names = [*new, *(name for name in old if name not in new)]
    return [
        Change(pin=name, before=old.get(name), after=new.get(name)) for name in names if old.get(name) != new.get(name)
    ]


def same_but_moment(one: str | None, other: str | None, *, measured: bool = False) -> bool:
    """Whether two release files have the same content, apart from the time of a hold.

    Holding a service again for the same reason is no change.

    Args:
        one: One content; None if there is no file.
        other: The other one.
        measured: Whether the reasons of holds contain measurements. These differ each time, so they are not compared.
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
    """Return a release file's content with other pins. Everything else keeps its form, and every comment stays.

    Args:
        text: The present content; None if the file does not exist.
        after: The pins to write.
        name: The name of the file, for an error.

    Raises:
        BadInputError: The present content cannot be edited.
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

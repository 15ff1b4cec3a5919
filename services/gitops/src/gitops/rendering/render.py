"""Render the manifests that Argo CD would apply: with Helm, with kustomize, or from plain files."""

import fnmatch
import os
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from gitops.documents import YAMLError, loaded
from gitops.errors import BadInputError, OutageError
from gitops.platform.model import Platform
from gitops.platform.reader import load_platform
from gitops.platform.targets import PLATFORM, Target, chosen, targets
from gitops.programs import ProgramFailedError, run
from gitops.rendering.applications import EXTRA, Application, Found, Helm, Source, Unread, applications
from gitops.rendering.manifests import Manifest, parse, placed

ChartFrom = Literal["auto", "tree", "registry"]
_HELM_SECONDS = 90.0
_KUSTOMIZE_SECONDS = 120.0
_PLACES_OF_FILES = (".yaml", ".yml", ".json")
UNREACHABLE = ("dial tcp", "no such host", "connection refused", "timeout", "network is unreachable", "EOF")


class Rendered(Struct, frozen=True, kw_only=True):
    """The manifests of an application, and a description of where its chart came from."""

    application: Application
    manifests: list[Manifest]
    origin: str


def find_helm(root: Path) -> str:
    """Return the Helm that this repository installs, or the one on PATH; it must be Helm 4 like Argo CD's.

    Raises:
        BadInputError: Helm has another version.
        ProgramMissingError: Helm is not installed.
    """
    own = root / ".cache" / "tools" / "bin" / "helm"
    # The resolved path is the same in each of a person's checkouts, so that caches are shared.
    helm = str(own.resolve()) if own.exists() else shutil.which("helm") or "helm"
    version = _version(helm, Path(helm).stat().st_mtime_ns if Path(helm).exists() else 0)
    if not version.startswith("v4."):
        raise BadInputError(f"{helm} is {version}, but Argo CD renders with Helm 4: run tools/install helm.")
    return helm


@cache
def _version(helm: str, written: int) -> str:  # noqa: ARG001  (when it was, which is half of the cache's key)
    """Return the version of a program; cached until its file changes."""
    return run([helm, "version", "--template", "{{.Version}}"]).strip()


class Selection(Struct, frozen=True, kw_only=True):
    """The selected applications, and a sentence for each one that cannot be rendered.

    `broken` has the names of those that are missing, which `problems` explain. `notes` are about files of apps/extra
    that are not supported here, though Argo CD may accept them.
    """

    applications: list[Application]
    broken: list[str]
    problems: list[str]
    notes: list[str]


def select(tree: Path, helm: str, name: str, apps: Sequence[str] = (), *, strict: bool = True) -> list[Application]:
    """Return the selected applications, as `selection`; one that cannot be read is an error.

    Raises:
        BadInputError: There is no such environment, service or application, nothing is released there, or it is
            invalid.
    """
    found = selection(tree, helm, name, apps, strict=strict)
    if strict and found.problems:
        raise BadInputError(found.problems[0])
    return found.applications


def selection(tree: Path, helm: str, name: str, apps: Sequence[str] = (), *, strict: bool = True) -> Selection:
    """Select applications by name; an invalid service does not stop the others.

    Args:
        tree: The repository's files.
        helm: The Helm program.
        name: An environment, ENV/SERVICE, or `platform` for every application that is not of a service.
        apps: Only these applications; the default is all.
        strict: Whether a missing name is an error; at an earlier revision it may be missing.

    Raises:
        BadInputError: There is no such environment, service or application, or nothing is released there.
    """
    platform, found = load_platform(tree), applications(tree, helm)
    broken: dict[str, str] = {}
    if name == PLATFORM:
        of_services = {target.application for target in targets(platform)}
        selected = [entry for entry in found.applications if entry.name not in of_services]
    else:
        wanted = chosen(platform, name) if strict else _known(platform, name)
        selected = [application for target in wanted if (application := found.named(target.application))]
        broken = _broken(tree, found, wanted)
        if strict and not selected and not broken:
            raise BadInputError(_nothing_released(wanted))
    known = {application.name for application in selected}
    notes = (
        [f"{entry.origin} cannot be rendered here: {entry.why}" for entry in _extra(found)] if name == PLATFORM else []
    )
    if strict and (unknown := [app for app in apps if app not in known]):
        if why := next((note for note in notes if unknown[0] in note), None):
            raise BadInputError(why)
        if not broken:
            raise BadInputError(f"{name} has no application {unknown[0]!r}; it has: {', '.join(sorted(known))}.")
    selected = [application for application in selected if not apps or application.name in apps]
    return Selection(applications=selected, broken=list(broken), problems=list(broken.values()), notes=notes)


def _known(platform: Platform, name: str) -> list[Target]:
    try:
        return chosen(platform, name)
    except BadInputError:
        return []


def _extra(found: Found) -> list[Unread]:
    return [entry for entry in found.unread if entry.origin.startswith(str(EXTRA))]


def _broken(tree: Path, found: Found, wanted: Sequence[Target]) -> dict[str, str]:
    """Return why services with a release have no application, by the application's name."""
    problems = {}
    for target in wanted:
        if found.named(target.application) or not (tree / target.file).exists():
            continue
        # The origin contains the name of the ApplicationSet.
        why = next(
            (entry.why for entry in found.unread if f"({target.application})" in entry.origin), "it cannot be read"
        )
        problems[target.application] = f"{target} cannot be rendered: {why}"
    return problems


def _nothing_released(wanted: Sequence[Target]) -> str:
    names = ", ".join(str(target.file) for target in wanted)
    return (
        f"Nothing is released there: there is no {names or 'service yet'}. `gitops bump` writes it in an environment "
        "without `from`; the others get it by promotion."
    )


class Renderer:
    """Renders applications from one tree of files."""

    def __init__(self, tree: Path, helm: str, chart_from: ChartFrom = "auto") -> None:
        """Take the tree to render from.

        Args:
            tree: The repository's files, as checked out or exported.
            helm: The Helm program.
            chart_from: Where the serving chart comes from: `tree`, `registry`, or whichever has the pinned version.

        Raises:
            BadInputError: platform.yaml is invalid.
        """
        self._tree = tree
        self._helm = helm
        self._chart_from = chart_from
        self._platform = load_platform(tree)

    def render(self, application: Application) -> Rendered:
        """Render one application.

        Raises:
            BadInputError: Helm or kustomize refuses, a file is missing, or a feature of Argo CD is not supported here.
            OutageError: A chart's registry does not answer.
        """
        manifests: list[Manifest] = []
        origins = []
        for source in application.sources:
            if not (source.path or source.chart):
                continue
            text, origin = self._source(application, source)
            manifests += [placed(manifest, application.namespace) for manifest in parse(text)]
            origins.append(origin)
        return Rendered(application=application, manifests=manifests, origin=", ".join(origins))

    def _source(self, application: Application, source: Source) -> tuple[str, str]:
        if source.plugin is not None or source.kustomize:
            raise BadInputError(
                f"{application.origin}: plugins and kustomize options of a source cannot be rendered here."
            )
        if source.chart:
            chart, options, origin = self._chart(source)
            return self._template(application, source, [chart, *options]), origin
        if source.repo_url != self._platform.repository:
            raise BadInputError(
                f"{application.origin}: {source.repo_url} is not this repository, so it cannot be rendered here."
            )
        folder, origin = self._tree / source.path, f"{source.path} of the tree"
        if (folder / "Chart.yaml").is_file():
            return self._template(application, source, [str(folder)]), origin
        if (folder / "kustomization.yaml").is_file():
            return self._kustomize(application, folder), origin
        if not folder.is_dir():
            raise BadInputError(f"{application.origin}: there is no folder {source.path}.")
        return "\n---\n".join(path.read_text(encoding="utf-8") for path in _files(folder, source)), origin

    def _chart(self, source: Source) -> tuple[str, list[str], str]:
        """Return the chart argument for Helm, its options, and a description of the chart's origin."""
        version = source.target_revision
        if "://" in source.repo_url:
            options = ["--repo", source.repo_url, "--version", version]
            return source.chart, options, f"{source.chart} {version} of {source.repo_url}"
        own = self._tree / "charts" / source.chart
        if self._chart_from == "tree" or (self._chart_from == "auto" and _chart_version(own) == version):
            return str(own), [], f"{source.chart} {_chart_version(own)} of the tree"
        address = f"oci://{source.repo_url}/{source.chart}"
        registry = self._platform.registry
        plain = source.repo_url.startswith(f"{registry.prefix}/") and registry.plain_http
        options = ["--version", version, *(["--plain-http"] if plain else [])]
        return address, options, f"{address} {version}"

    def _template(self, application: Application, source: Source, chart: Sequence[str]) -> str:
        helm = source.helm or Helm()
        with tempfile.TemporaryDirectory(prefix="gitops-") as scratch:
            options = [
                *self._value_files(application, source, helm),
                *_inline(application, helm, Path(scratch)),
                *(
                    option
                    for entry in helm.parameters
                    for option in _set(entry.name, entry.value, text=entry.force_string)
                ),
                *self._file_parameters(application, source, helm),
            ]
            release = helm.release_name or application.name
            where = ["--namespace", application.namespace, "--include-crds"]
            try:
                return run([self._helm, "template", release, *chart, *where, *options], timeout=_HELM_SECONDS)
            except ProgramFailedError as error:
                if chart[0].startswith("oci://") or "--repo" in chart:
                    raise _not_fetched(application, error) from None
                raise BadInputError(f"{application.name} does not render: {_said(error)}") from None

    def _value_files(self, application: Application, source: Source, helm: Helm) -> list[str]:
        options = []
        for file in helm.value_files:
            path = self._path(application, source, file)
            if path.is_file():
                options += ["--values", str(path)]
            elif not helm.ignore_missing_value_files:
                name = os.path.relpath(path, self._tree)
                raise BadInputError(f"{application.origin}: there is no values file {name}.")
        return options

    def _file_parameters(self, application: Application, source: Source, helm: Helm) -> list[str]:
        options = []
        for entry in helm.file_parameters:
            path = self._path(application, source, entry.path)
            if not path.is_file():
                name = os.path.relpath(path, self._tree)
                raise BadInputError(f"{application.name}: there is no file {name}, which is its value {entry.name}.")
            options += ["--set-file", f"{entry.name}={path}"]
        return options

    def _path(self, application: Application, source: Source, file: str) -> Path:
        """Return the path of a file as Argo CD does: `$REF/...` and `/...` from the root, otherwise from the source."""
        ref, _, rest = file.partition("/")
        refs = {entry.ref for entry in application.sources if entry.ref and entry.repo_url == self._platform.repository}
        if ref.startswith("$") and ref[1:] in refs:
            return self._tree / rest
        if file.startswith("/"):
            return self._tree / file[1:]
        if not ref.startswith("$"):
            return self._tree / source.path / file
        raise BadInputError(f"{application.origin}: {file} names a source that is not this repository.")

    def _kustomize(self, application: Application, folder: Path) -> str:
        try:
            return run(["kubectl", "kustomize", str(folder)], timeout=_KUSTOMIZE_SECONDS)
        except ProgramFailedError as error:
            if any(word in error.errors for word in UNREACHABLE):
                raise OutageError(
                    f"{application.name}: the resources of its kustomization cannot be downloaded: {error.errors}\n"
                    "Without internet, put Argo CD's manifest into the repository: gitops adopt --vendor-argocd FILE."
                ) from None
            raise BadInputError(f"{application.name} does not render: {error.errors}") from None


def _files(folder: Path, source: Source) -> list[Path]:
    directory = source.directory
    found = sorted(folder.rglob("*") if directory and directory.recurse else folder.iterdir())
    return [
        path
        for path in found
        if path.suffix in _PLACES_OF_FILES
        and not (directory and directory.include and not fnmatch.fnmatch(path.name, directory.include))
        and not (directory and directory.exclude and fnmatch.fnmatch(path.name, directory.exclude))
    ]


def _inline(application: Application, helm: Helm, scratch: Path) -> list[str]:
    """Return the option for the values in the Application itself; as in Argo CD, an object replaces a text."""
    try:
        values = helm.values_object or (loaded(helm.values) if helm.values else None)
    except YAMLError as error:
        raise BadInputError(f"{application.origin}: the Application's values are not valid YAML: {error}.") from None
    if not values:
        return []
    # JSON is valid YAML without ambiguities.
    file = scratch / "values.json"
    file.write_bytes(msgspec.json.encode(values))
    return ["--values", str(file)]


def _set(name: str, value: str, *, text: bool) -> list[str]:
    return ["--set-string" if text else "--set", f"{name}={value}"]


def _not_fetched(application: Application, error: ProgramFailedError) -> Exception:
    if any(word in error.errors for word in UNREACHABLE):
        return OutageError(
            f"{application.name}: its chart cannot be downloaded: {_said(error)}\nTo leave it out, name the other "
            "applications."
        )
    return BadInputError(
        f"{application.name}: its chart cannot be downloaded, or does not render: {_said(error)}\n"
        "Is that version published? A private registry needs `helm registry login` first."
    )


def _said(error: ProgramFailedError) -> str:
    """Return Helm's error message, without its notes about symbolic links."""
    return "\n".join(line for line in error.errors.splitlines() if not line.startswith("level=INFO"))


def _chart_version(chart: Path) -> str | None:
    file = chart / "Chart.yaml"
    if not file.is_file():
        return None
    return str(loaded(file.read_text(encoding="utf-8")).get("version"))

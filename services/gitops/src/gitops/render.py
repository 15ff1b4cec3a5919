"""The manifests that Argo CD would apply, rendered here: with Helm, kustomize, or as they stand."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import yaml
from msgspec import Struct

from gitops.applications import Application, Source, applications
from gitops.environments import PLATFORM, checked_environment, release_file
from gitops.errors import BadInputError, OutageError
from gitops.identity import Identity, load_identity
from gitops.manifests import Manifest, parse, placed
from gitops.programs import ProgramFailedError, run

ChartFrom = Literal["auto", "tree", "registry"]
_HELM_SECONDS = 90.0
_KUSTOMIZE_SECONDS = 120.0
_PLACES_OF_FILES = (".yaml", ".yml", ".json")
UNREACHABLE = ("dial tcp", "no such host", "connection refused", "timeout", "network is unreachable", "EOF")


class Rendered(Struct, frozen=True, kw_only=True):
    """One application's manifests, and where its chart came from, in words."""

    application: Application
    manifests: list[Manifest]
    origin: str


def find_helm(root: Path) -> str:
    """The Helm that this repository installs, or the one on PATH, which must be Helm 4 as Argo CD's is.

    Raises:
        BadInputError: Only an older Helm is there.
        ProgramMissingError: There is none.
    """
    own = root / ".cache" / "tools" / "bin" / "helm"
    helm = str(own) if own.exists() else shutil.which("helm") or "helm"
    version = run([helm, "version", "--template", "{{.Version}}"]).strip()
    if not version.startswith("v4."):
        raise BadInputError(f"{helm} is {version}, and Argo CD renders with Helm 4: run tools/install helm.")
    return helm


def select(tree: Path, environment: str, names: Sequence[str] = (), *, strict: bool = True) -> list[Application]:
    """The applications of an environment, or of the platform.

    Args:
        tree: The repository's files.
        environment: An environment's name, or `platform`.
        names: Only these applications; all by default.
        strict: Whether it is an error when there is nothing of that name, as there may be at an earlier revision.

    Raises:
        BadInputError: There is no such environment or application, or nothing is released there.
    """
    platform = environment == PLATFORM
    if strict and not platform:
        checked_environment(tree, environment)
    found = [
        application
        for application in applications(tree)
        if (application.environment is None if platform else application.environment == environment)
    ]
    if strict and not found and not platform:
        raise BadInputError(
            f"Nothing is released to {environment}: there is no {release_file(environment)}. "
            "`gitops bump` writes it; production gets its own by promotion."
        )
    known = {application.name for application in found}
    if strict and (unknown := [name for name in names if name not in known]):
        raise BadInputError(f"{environment} has no application {unknown[0]!r}; it has: {', '.join(sorted(known))}.")
    return [application for application in found if not names or application.name in names]


class Renderer:
    """Renders applications from one tree of files."""

    def __init__(self, tree: Path, helm: str, chart_from: ChartFrom = "auto") -> None:
        """Take what to render from.

        Args:
            tree: The repository's files, as checked out or exported.
            helm: The Helm program.
            chart_from: Where the serving chart comes from: `tree`, `registry`, or whichever has the pinned version.
        """
        self._tree = tree
        self._helm = helm
        self._chart_from = chart_from
        self._identity: Identity = load_identity(tree)

    def render(self, application: Application) -> Rendered:
        """Render one application.

        Raises:
            BadInputError: Helm or kustomize refuses, or a file is missing.
            OutageError: A chart's registry does not answer.
        """
        manifests: list[Manifest] = []
        origins = []
        refs = {
            source.ref for source in application.sources if source.ref and source.repo_url == self._identity.repository
        }
        for source in application.sources:
            if not (source.path or source.chart):
                continue
            text, origin = self._source(application, source, refs)
            manifests += [placed(manifest, application.namespace) for manifest in parse(text)]
            origins.append(origin)
        return Rendered(application=application, manifests=manifests, origin=", ".join(origins))

    def _source(self, application: Application, source: Source, refs: set[str]) -> tuple[str, str]:
        if source.chart:
            chart, options, origin = self._chart(source)
            return self._template(application, source, refs, [chart, *options]), origin
        if source.repo_url != self._identity.repository:
            raise BadInputError(
                f"{application.file}: {source.repo_url} is not this repository, so it cannot be rendered here."
            )
        folder = self._tree / source.path
        if (folder / "Chart.yaml").is_file():
            return self._template(application, source, refs, [str(folder)]), f"{source.path} of the tree"
        if (folder / "kustomization.yaml").is_file():
            return self._kustomize(application, folder), f"{source.path} of the tree"
        if not folder.is_dir():
            raise BadInputError(f"{application.file}: there is no folder {source.path}.")
        files = [path for path in sorted(folder.iterdir()) if path.suffix in _PLACES_OF_FILES]
        return "\n---\n".join(path.read_text(encoding="utf-8") for path in files), f"{source.path} of the tree"

    def _chart(self, source: Source) -> tuple[str, list[str], str]:
        """The chart argument, the options that go with it, and its origin in words."""
        version = source.target_revision
        if "://" in source.repo_url:
            options = ["--repo", source.repo_url, "--version", version]
            return source.chart, options, f"{source.chart} {version} of {source.repo_url}"
        own = self._tree / "charts" / source.chart
        if self._chart_from == "tree" or (self._chart_from == "auto" and _chart_version(own) == version):
            return str(own), [], f"{source.chart} {_chart_version(own)} of the tree"
        address = f"oci://{source.repo_url}/{source.chart}"
        plain = source.repo_url.startswith(f"{self._identity.registry}/") and self._identity.plain_http
        options = ["--version", version, *(["--plain-http"] if plain else [])]
        return address, options, f"{address} {version}"

    def _template(self, application: Application, source: Source, refs: set[str], chart: Sequence[str]) -> str:
        values = [
            option
            for file in source.helm.value_files
            for option in ("--values", self._value_file(application, source, refs, file))
        ]
        release = source.helm.release_name or application.name
        command = [
            self._helm,
            "template",
            release,
            *chart,
            "--namespace",
            application.namespace,
            "--include-crds",
            *values,
        ]
        try:
            return run(command, timeout=_HELM_SECONDS)
        except ProgramFailedError as error:
            if chart[0].startswith("oci://") or "--repo" in chart:
                raise _not_fetched(application, error) from None
            raise BadInputError(f"{application.name} does not render: {error.errors}") from None

    def _value_file(self, application: Application, source: Source, refs: set[str], file: str) -> str:
        """A values file as Argo CD finds it: `$REF/...` and `/...` from the root, else from the source."""
        ref, _, rest = file.partition("/")
        if ref.startswith("$") and ref[1:] in refs:
            path = self._tree / rest
        elif file.startswith("/"):
            path = self._tree / file[1:]
        elif not ref.startswith("$"):
            path = self._tree / source.path / file
        else:
            raise BadInputError(f"{application.file}: {file} names a source that is not this repository.")
        if not path.is_file():
            raise BadInputError(f"{application.file}: there is no values file {os.path.relpath(path, self._tree)}.")
        return str(path)

    def _kustomize(self, application: Application, folder: Path) -> str:
        try:
            return run(["kubectl", "kustomize", str(folder)], timeout=_KUSTOMIZE_SECONDS)
        except ProgramFailedError as error:
            if any(word in error.errors for word in UNREACHABLE):
                raise OutageError(
                    f"{application.name}: what its kustomization names cannot be fetched: {error.errors}\n"
                    "Without internet, put Argo CD's manifest into the repository: gitops adopt --vendor-argocd FILE."
                ) from None
            raise BadInputError(f"{application.name} does not render: {error.errors}") from None


def _not_fetched(application: Application, error: ProgramFailedError) -> Exception:
    if any(word in error.errors for word in UNREACHABLE):
        return OutageError(
            f"{application.name}: its chart cannot be fetched: {error.errors}\nName other applications to leave it out."
        )
    return BadInputError(
        f"{application.name}: its chart cannot be fetched or does not render: {error.errors}\n"
        "Is that version published? A private registry needs `helm registry login` first."
    )


def _chart_version(chart: Path) -> str | None:
    file = chart / "Chart.yaml"
    if not file.is_file():
        return None
    version = yaml.safe_load(file.read_text(encoding="utf-8")).get("version")
    return str(version)

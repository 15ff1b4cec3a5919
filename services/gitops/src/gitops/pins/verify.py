"""Verify the pins of a service: its image is signed and has an SBOM, its model and chart are those in the registry."""

import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Literal

from msgspec import Struct

from gitops.errors import BadInputError, GitopsError, OutageError
from gitops.pins.charts import AWAY, SERVING_CHART
from gitops.pins.registry import MlflowRegistry
from gitops.pins.release import Model, Release, Shadow, load_release
from gitops.platform.model import Platform
from gitops.platform.targets import Target
from gitops.programs import ProgramFailedError, run
from gitops.rendering.render import find_helm

Part = Literal["pins", "signature", "sbom", "model", "shadow", "chart", "chart signature"]
_COSIGN_SECONDS = 180.0
_HELM_SECONDS = 90.0
_GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
# The signing workflow, only on this branch: someone who can push a tag or another branch could change the workflow
# there.
_SIGNER = r"/\.github/workflows/deliver\.yml@refs/heads/{branch}"
# A signature is for a digest; a tag may name other content later.
_BY_DIGEST = re.compile(r"(?P<repository>[^@]+?)(:[^:/@]+)?@(?P<digest>sha256:[0-9a-f]{64})")


class Trust(Struct, frozen=True, kw_only=True):
    """Which signatures to trust: those of a key, or of a keyless identity with its issuer.

    `identity` is a regular expression. `transparency_log` says whether a signature must be in the public log.
    """

    key: str | None = None
    identity: str | None = None
    issuer: str | None = None
    transparency_log: bool = True

    def options(self, platform: Platform) -> list[str]:
        """Return cosign's options; the default is the signature of this repository's own workflow on GitHub.

        Raises:
            BadInputError: Both a key and an identity are given, or neither and the repository is not on GitHub.
        """
        log = [] if self.transparency_log else ["--insecure-ignore-tlog=true"]
        if self.key and (self.identity or self.issuer):
            raise BadInputError("--key and --identity exclude one another: give only the one that signed.")
        if self.key:
            return ["--key", self.key, *log]
        if not self.identity and platform.host != "github.com":
            raise BadInputError("It is not known whose signature counts: give --key, or --identity with --issuer.")
        signer = _SIGNER.replace("{branch}", re.escape(platform.branch))
        identity = self.identity or f"^{re.escape(platform.web)}{signer}$"
        issuer = self.issuer or _GITHUB_ISSUER
        return ["--certificate-identity-regexp", identity, "--certificate-oidc-issuer", issuer, *log]


class Check(Struct, frozen=True, kw_only=True):
    """The result of one check; `problem` is empty if it passed."""

    part: Part
    subject: str
    problem: str = ""
    exit_code: int = 0


class Verifier:
    """Check the pins of one target in the working tree."""

    def __init__(self, root: Path, platform: Platform, target: Target) -> None:
        """Read the pins.

        Raises:
            BadInputError: Nothing is released to the target, or its release file is invalid.
        """
        self._root = root
        self._platform = platform
        release = load_release(root / target.file, target.file)
        if release is None:
            raise BadInputError(f"Nothing is released to {target}: {target.file} does not exist.")
        self._release: Release = release

    def image(self, trust: Trust) -> list[Check]:
        """Check the signature and the SBOM of the image with cosign, and those of its variant for batch scoring."""
        pinned = self._release.image
        digests = [pinned.digest, *([pinned.batch_digest] if pinned.batch_digest else [])]
        return [check for digest in digests for check in self._proven(f"{pinned.repository}@{digest}", trust)]

    def _proven(self, image: str, trust: Trust) -> list[Check]:
        options = _options(self._platform, trust, image)
        verify = ["verify", *options, image]
        attested = ["verify-attestation", "--type", "cyclonedx", *options, image]
        return [
            _checked("signature", image, lambda: _cosign(self._root, verify)),
            _checked("sbom", image, lambda: _cosign(self._root, attested)),
        ]

    def models(self, registry: Callable[[], AbstractContextManager[MlflowRegistry]]) -> list[Check]:
        """Check that the registry has the model's and the shadow's version, with the pinned digests and locations."""
        pinned, shadow = self._release.model, self._release.tried
        pins: list[tuple[Part, Model | Shadow]] = [("model", pinned)]
        if shadow:
            pins.append(("shadow", shadow))
        return [
            _checked(part, f"{pinned.name} {pin.version}", partial(_compare, pinned.name, pin, registry))
            for part, pin in pins
        ]

    def chart(self) -> Check:
        """Check that the registry has the chart in the pinned version, with the pinned digest."""
        address = f"oci://{self._platform.registry.charts}/{SERVING_CHART}"
        version = self._release.release.chart
        return _checked("chart", f"{address} {version}", lambda: self._pull(address, version))

    def chart_signature(self, trust: Trust) -> list[Check]:
        """Check the signature of the chart's digest; no check if the pins have no digest of the chart."""
        digest = self._release.release.chart_digest
        if not digest:
            return []
        chart = f"{self._platform.registry.charts}/{SERVING_CHART}@{digest}"
        options = _options(self._platform, trust, chart)
        return [_checked("chart signature", chart, lambda: _cosign(self._root, ["verify", *options, chart]))]

    def _pull(self, address: str, version: str) -> None:
        digest = self._release.release.chart_digest
        # With a digest, Helm refuses a version whose content differs.
        reference = f"{address}:{version}@{digest}" if digest else f"{address}:{version}"
        plain = ["--plain-http"] if self._platform.registry.plain_http else []
        _run([find_helm(self._root), "show", "chart", reference, *plain], _HELM_SECONDS)


def signature_of(root: Path, platform: Platform, reference: str, trust: Trust) -> Check:
    """Check whether a trusted signature exists for an image or a chart.

    Args:
        root: The repository; cosign may be installed in it.
        platform: The content of platform.yaml, with the registry.
        reference: REPOSITORY@sha256:DIGEST, with or without a tag.
        trust: Which signatures to trust.
    """
    return _checked("signature", reference, lambda: _signed(root, platform, reference, trust))


def _signed(root: Path, platform: Platform, reference: str, trust: Trust) -> None:
    match = _BY_DIGEST.fullmatch(reference)
    if match is None:
        raise BadInputError(f"{reference!r} is not REPOSITORY@sha256:DIGEST; the content of a tag may change.")
    content = f"{match['repository']}@{match['digest']}"
    _cosign(root, ["verify", *_options(platform, trust, content), content])


def _options(platform: Platform, trust: Trust, reference: str) -> list[str]:
    registry = platform.registry
    plain = registry.plain_http and reference.startswith(f"{registry.prefix}/")
    return [*trust.options(platform), *(["--allow-http-registry"] if plain else [])]


def _cosign(root: Path, arguments: Sequence[str]) -> None:
    own = root / ".cache" / "tools" / "bin" / "cosign"
    cosign = str(own) if own.exists() else shutil.which("cosign") or "cosign"
    _run([cosign, *arguments], _COSIGN_SECONDS)


def _checked(part: Part, subject: str, check: Callable[[], None]) -> Check:
    try:
        check()
    except GitopsError as error:
        return Check(part=part, subject=subject, problem=str(error), exit_code=error.exit_code)
    return Check(part=part, subject=subject)


def _compare(name: str, pinned: Model | Shadow, registry: Callable[[], AbstractContextManager[MlflowRegistry]]) -> None:
    with registry() as models:
        found = models.find(f"{name}/{pinned.version}").model
    for what, here, there in (("digest", pinned.digest, found.digest), ("location", pinned.uri, found.uri)):
        if here != there:
            raise BadInputError(f"its {what} is pinned as {here}, but the registry has {there}: bump it again.")


def _run(command: Sequence[str], seconds: float) -> None:
    try:
        run(command, timeout=seconds)
    except ProgramFailedError as error:
        if AWAY.search(error.errors):
            raise OutageError(f"The registry does not answer: {error.last_line}") from None
        raise BadInputError(error.last_line.removeprefix("Error: ")) from None

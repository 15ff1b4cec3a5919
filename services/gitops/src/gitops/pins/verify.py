"""Whether what a service pins is what it claims to be: its image signed, its parts listed, its model unchanged."""

import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from msgspec import Struct

from gitops.errors import BadInputError, GitopsError, OutageError
from gitops.pins.registry import MlflowRegistry
from gitops.pins.release import Model, Release, load_release
from gitops.platform.model import Platform
from gitops.platform.targets import Target
from gitops.programs import ProgramFailedError, run
from gitops.rendering.render import UNREACHABLE, find_helm

Part = Literal["pins", "signature", "sbom", "model", "chart"]
_COSIGN_SECONDS = 180.0
_HELM_SECONDS = 90.0
_GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
# The workflow that signs images, on the branches and tags that it runs for.
_SIGNER = r"/\.github/workflows/deliver\.yml@refs/(heads/{branch}|tags/v.+)"
_CHART = "model-serving"
_AWAY = re.compile("|".join([*UNREACHABLE, "i/o timeout", "TLS handshake", "status code 5"]), re.IGNORECASE)


class Trust(Struct, frozen=True, kw_only=True):
    """Whose signatures count: those of a key, or of a keyless identity that an issuer vouches for.

    `identity` is a regular expression. `transparency_log` says whether a signature must stand in the public log.
    """

    key: str | None = None
    identity: str | None = None
    issuer: str | None = None
    transparency_log: bool = True

    def options(self, platform: Platform) -> list[str]:
        """What cosign is told; without a key or an identity, this repository's own workflow on GitHub counts.

        Raises:
            BadInputError: Both a key and an identity are given, or neither and the repository is not on GitHub.
        """
        log = [] if self.transparency_log else ["--insecure-ignore-tlog=true"]
        if self.key and (self.identity or self.issuer):
            raise BadInputError("--key and --identity exclude one another: say which of them signed.")
        if self.key:
            return ["--key", self.key, *log]
        if not self.identity and platform.host != "github.com":
            raise BadInputError("Whose signature counts? Name --key, or --identity with --issuer.")
        signer = _SIGNER.replace("{branch}", re.escape(platform.branch))
        identity = self.identity or f"^{re.escape(platform.web)}{signer}$"
        issuer = self.issuer or _GITHUB_ISSUER
        return ["--certificate-identity-regexp", identity, "--certificate-oidc-issuer", issuer, *log]


class Check(Struct, frozen=True, kw_only=True):
    """One thing that was looked at; `problem` is empty where it is as it should be."""

    part: Part
    subject: str
    problem: str = ""
    exit_code: int = 0


class Verifier:
    """Checks the pins of one target, as they stand in the working tree."""

    def __init__(self, root: Path, platform: Platform, target: Target) -> None:
        """Read the pins.

        Raises:
            BadInputError: Nothing is released to the target, or its release file is not as it should be.
        """
        self._root = root
        self._platform = platform
        release = load_release(root / target.file, target.file)
        if release is None:
            raise BadInputError(f"Nothing is released to {target}: there is no {target.file}.")
        self._release: Release = release

    def image(self, trust: Trust) -> list[Check]:
        """The image's signature, and the list of its parts, both by cosign."""
        image = f"{self._release.image.repository}@{self._release.image.digest}"
        options = [*trust.options(self._platform), *(["--allow-http-registry"] if self._plain(image) else [])]
        verify = ["verify", *options, image]
        attested = ["verify-attestation", "--type", "cyclonedx", *options, image]
        return [
            _checked("signature", image, lambda: self._cosign(verify)),
            _checked("sbom", image, lambda: self._cosign(attested)),
        ]

    def model(self, registry: Callable[[], AbstractContextManager[MlflowRegistry]]) -> Check:
        """Whether the registry has the version, with the digest and the location that are pinned."""
        pinned = self._release.model
        return _checked("model", f"{pinned.name} {pinned.version}", lambda: _compare(pinned, registry))

    def chart(self) -> Check:
        """Whether the registry has the chart in the pinned version."""
        address = f"oci://{self._platform.registry.charts}/{_CHART}"
        version = self._release.release.chart
        return _checked("chart", f"{address} {version}", lambda: self._pull(address, version))

    def _cosign(self, arguments: Sequence[str]) -> None:
        own = self._root / ".cache" / "tools" / "bin" / "cosign"
        cosign = str(own) if own.exists() else shutil.which("cosign") or "cosign"
        _run([cosign, *arguments], _COSIGN_SECONDS)

    def _pull(self, address: str, version: str) -> None:
        digest = self._release.release.chart_digest
        # With a digest, Helm refuses a version whose content is another.
        reference = f"{address}:{version}@{digest}" if digest else f"{address}:{version}"
        plain = ["--plain-http"] if self._platform.registry.plain_http else []
        _run([find_helm(self._root), "show", "chart", reference, *plain], _HELM_SECONDS)

    def _plain(self, reference: str) -> bool:
        registry = self._platform.registry
        return registry.plain_http and reference.startswith(f"{registry.prefix}/")


def _checked(part: Part, subject: str, check: Callable[[], None]) -> Check:
    try:
        check()
    except GitopsError as error:
        return Check(part=part, subject=subject, problem=str(error), exit_code=error.exit_code)
    return Check(part=part, subject=subject)


def _compare(pinned: Model, registry: Callable[[], AbstractContextManager[MlflowRegistry]]) -> None:
    with registry() as models:
        found = models.find(f"{pinned.name}/{pinned.version}").model
    for what, here, there in (("digest", pinned.digest, found.digest), ("location", pinned.uri, found.uri)):
        if here != there:
            raise BadInputError(f"its {what} is pinned as {here}, and the registry has {there}: bump it anew.")


def _run(command: Sequence[str], seconds: float) -> None:
    try:
        run(command, timeout=seconds)
    except ProgramFailedError as error:
        last = error.errors.splitlines()[-1] if error.errors else "it said nothing"
        if _AWAY.search(error.errors):
            raise OutageError(f"The registry does not answer: {last}") from None
        raise BadInputError(last.removeprefix("Error: ")) from None

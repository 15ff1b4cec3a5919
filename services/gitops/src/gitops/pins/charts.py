"""The serving chart as a pin: a published version, and its digest in the registry."""

import re
import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct

from gitops.errors import BadInputError, OutageError
from gitops.pins.release import ChartVersion, Digest
from gitops.platform.model import Platform
from gitops.programs import ProgramFailedError, run
from gitops.rendering.render import UNREACHABLE, find_helm

SERVING_CHART = "model-serving"
_HELM_SECONDS = 90.0
_SAID = re.compile(r"^Digest: (sha256:[0-9a-f]{64})$", re.MULTILINE)
# Messages of programs for a registry that does not answer.
AWAY = re.compile("|".join([*UNREACHABLE, "i/o timeout", "TLS handshake", "status code 5"]), re.IGNORECASE)


class Chart(Struct, frozen=True, kw_only=True):
    """A version of the serving chart; `digest` is None if its content is not pinned."""

    version: ChartVersion
    digest: Digest | None = None


def parse_chart(text: str) -> Chart:
    """Split VERSION@sha256:DIGEST, or VERSION alone.

    Raises:
        BadInputError: A part has the wrong form.
    """
    version, at, digest = text.partition("@")
    try:
        return msgspec.convert({"version": version, "digest": digest if at else None}, Chart)
    except msgspec.ValidationError:
        raise BadInputError(
            f"--chart: {text!r} is neither a version such as 1.4.0, nor a version with its digest, such as "
            "1.4.0@sha256:DIGEST."
        ) from None


def looked_up(root: Path, platform: Platform, chart: Chart) -> Chart:
    """Return the chart with its present digest in the registry, so that publishing it again changes nothing.

    A fork without a registry pins only the version.

    Raises:
        BadInputError: The version is not published.
        OutageError: The registry does not answer.
    """
    if chart.digest or not platform.adopted:
        return chart
    address = f"oci://{platform.registry.charts}/{SERVING_CHART}"
    plain = ["--plain-http"] if platform.registry.plain_http else []
    with tempfile.TemporaryDirectory(prefix="gitops-") as scratch:
        command = [find_helm(root), "pull", address, "--version", chart.version, "--destination", scratch, *plain]
        try:
            found = _SAID.search(run(command, timeout=_HELM_SECONDS))
        except ProgramFailedError as error:
            if AWAY.search(error.errors):
                raise OutageError(
                    f"{address} does not answer: {error.last_line}\n"
                    f"If it cannot be reached from here, give the digest too: --chart {chart.version}@sha256:DIGEST."
                ) from None
            raise BadInputError(
                f"--chart: {address} has no version {chart.version} to pin: {error.last_line}"
            ) from None
    if found is None:
        raise BadInputError(f"Helm did not report the digest of version {chart.version} at {address}.")
    return msgspec.structs.replace(chart, digest=found[1])

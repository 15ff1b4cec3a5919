"""The command that changes what an environment runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from gitops.cluster.client import Cluster
from gitops.commands.landing import NO_LANDING, LandingOptions, land_and_show
from gitops.commands.options import Json, MlflowUrl, registry
from gitops.errors import BadInputError
from gitops.git.repository import Repository
from gitops.git.snapshot import Edit, Snapshot
from gitops.pins.bump import Pins, bump_platform, bump_services, known_model, refuse_fed, refuse_held
from gitops.pins.charts import Chart, looked_up, parse_chart
from gitops.pins.registry import Candidate, completed
from gitops.pins.release import Image, parse_image
from gitops.platform.reader import platform_at
from gitops.platform.targets import PLATFORM, Target, chosen, moved_by_machines, one
from gitops.terminal import Terminal


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PinOptions:
    """What to pin; what is not named stays as it is."""

    image: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = ()
    """REPOSITORY:TAG@sha256:DIGEST, or TAG@sha256:DIGEST of the repository that is pinned now; for the platform
    PART=REPOSITORY:TAG@sha256:DIGEST, repeatable."""
    batch_image: str | None = None
    """The image's variant for batch scoring (docs/batch.md), in the same form. A new --image without it removes this
    pin."""
    model: str | None = None
    """VERSION or @ALIAS of the service's model in the registry, or NAME/VERSION or NAME@ALIAS; it must have passed its
    gate."""
    chart: str | None = None
    """Published version of the serving chart; its digest comes from the registry. Or VERSION@sha256:DIGEST."""
    mlflow_url: MlflowUrl = None
    """Address of MLflow. [default: the cluster's own, through kubectl port-forward]"""


_NO_PINS = PinOptions()


def bump(
    target: Annotated[str, Parameter(show_default=False)] = "",
    /,
    pins: PinOptions = _NO_PINS,
    landing: LandingOptions = NO_LANDING,
    *,
    context: str | None = None,
    json: Json = False,
) -> int:
    """Pin a service to an image, a model version or a chart version, in a commit; a first release names all three.

    If nothing changes, the exit code is 0. A held service is skipped, with exit code 3. Without a target, services that
    are held or were never released are skipped, with exit code 0. Pull requests of a bump (--pr, or always with `bumps:
    pull-requests` in platform.yaml) merge automatically once all requirements of the branch are met.

    Args:
        target: ENV/SERVICE, or ENV for all of its released services, a commit for each; platform for the images of its
            parts. [default: the released services of every environment without `from`; with --model NAME/VERSION or
            NAME@ALIAS those that serve it]
        pins: What to pin.
        landing: What to do with the commits.
        context: Context of the kubeconfig, for the port-forward. [default: the current one]
        json: Print what changed as JSON.
    """
    if not (pins.image or pins.batch_image or pins.model or pins.chart):
        raise BadInputError("Name what to pin: --batch-image, --image, --model or --chart.")
    start = landing.start(Repository.find())
    landing = landing.of_machines(platform_at(start))
    edit = _platform(pins) if target == PLATFORM else _services(start, target, pins, Cluster(context))
    return land_and_show(start, edit, landing, json=json).exit_code


def _platform(pins: PinOptions) -> Edit:
    if pins.model or pins.chart or pins.batch_image:
        raise BadInputError(f"{PLATFORM} has images to pin, and neither --model nor --chart nor --batch-image.")
    return bump_platform(dict(_platform_image(reference) for reference in pins.image))


def _services(start: Snapshot, name: str, wanted: PinOptions, cluster: Cluster) -> Edit:
    if len(wanted.image) > 1:
        raise BadInputError("--image: a service runs one image; give it once.")
    candidate = _candidate(start, name, wanted, cluster) if wanted.model else None
    image = wanted.image[0] if wanted.image else None
    if not name:
        _say_unserved(start, candidate)
    chart = _chart(start, name, wanted)
    return bump_services(name, Pins(image=image, batch_image=wanted.batch_image, candidate=candidate, chart=chart))


def _say_unserved(start: Snapshot, candidate: Candidate | None) -> None:
    """Warn if no service uses the model: training works without one, but somebody may have forgotten it."""
    model = candidate.model.name if candidate else None
    if not moved_by_machines(platform_at(start), model):
        serves = f" serves {model}" if model else " is there"
        Terminal().note(
            f"No service{serves} in an environment without `from`: run gitops new service NAME --model MODEL."
        )


def _candidate(start: Snapshot, name: str, wanted: PinOptions, cluster: Cluster) -> Candidate:
    """Look up the model once: if the alias moves later, the result stays the same."""
    if not name:
        return _found(wanted.model or "", wanted, cluster)
    target = one(platform_at(start), name)
    _refuse_needless(start, [target])
    reference = completed(wanted.model or "", target.service.model)
    known_model(target, reference.replace("@", "/").partition("/")[0])
    return _found(reference, wanted, cluster)


def _chart(start: Snapshot, name: str, wanted: PinOptions) -> Chart | None:
    """Look up the digest of the chart once."""
    if wanted.chart is None:
        return None
    platform, chart = platform_at(start), parse_chart(wanted.chart)
    if name:
        _refuse_needless(start, chosen(platform, name))
    with Terminal().working("Looking up the chart"):
        return looked_up(start.repository.root, platform, chart)


def _refuse_needless(start: Snapshot, targets: Sequence[Target]) -> None:
    """Refuse before the registry is queried, if the bump is refused anyway."""
    if len(targets) == 1:
        refuse_fed(targets[0])
        refuse_held(targets[0], start.release(targets[0])[1])


def _found(reference: str, wanted: PinOptions, cluster: Cluster) -> Candidate:
    with registry(wanted.mlflow_url, cluster) as models, Terminal().working("Looking up the model"):
        return models.find(reference)


def _platform_image(reference: str) -> tuple[str, Image]:
    part, separator, image = reference.partition("=")
    if not separator:
        raise BadInputError(f"--image: {reference!r} does not name the part: PART=REPOSITORY:TAG@sha256:DIGEST.")
    return part, parse_image(image)

"""The commands that move what an environment runs."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from gitops.cluster.client import Cluster
from gitops.commands.landing import NO_LANDING, LandingOptions, land_and_show
from gitops.commands.options import Json, MlflowUrl, registry
from gitops.errors import BadInputError
from gitops.git.repository import Repository
from gitops.pins.bump import Pins, bump_platform, refuse_held
from gitops.pins.bump import bump as bumping
from gitops.pins.registry import completed
from gitops.pins.release import Image, Release, parse_image
from gitops.platform.environments import PLATFORM


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PinOptions:
    """What to pin; what is not named stays as it is."""

    image: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = ()
    """REPOSITORY:TAG@sha256:DIGEST, or TAG@sha256:DIGEST of the repository that is pinned now; for the platform
    APP=REPOSITORY:TAG@sha256:DIGEST, repeatable."""
    model: str | None = None
    """NAME/VERSION or NAME@ALIAS of the registry, or VERSION or @ALIAS of the model that is pinned now; it must have
    passed its gate."""
    chart: str | None = None
    """Published version of the serving chart."""
    mlflow_url: MlflowUrl = None
    """Address of MLflow. [default: the cluster's own, through kubectl port-forward]"""


_NO_PINS = PinOptions()


def bump(
    environment: str,
    /,
    pins: PinOptions = _NO_PINS,
    landing: LandingOptions = NO_LANDING,
    *,
    context: str | None = None,
    json: Json = False,
) -> int:
    """Pin an environment to an image, a model version or a chart version, in a commit; a first release names all three.

    Nothing to change is no failure. A held environment is left alone, with exit code 3.

    Args:
        environment: An environment, or platform for the images of mlflow and training.
        pins: What to pin.
        landing: What becomes of the commit.
        context: Context of the kubeconfig, for the port-forward. [default: the current one]
        json: Print what changed as JSON.
    """
    if not (pins.image or pins.model or pins.chart):
        raise BadInputError("Name what to pin: --image, --model or --chart.")
    start = landing.start(Repository.find())
    if environment == PLATFORM:
        if pins.model or pins.chart:
            raise BadInputError(f"{PLATFORM} has images to pin, and neither --model nor --chart.")
        edit = bump_platform(dict(_platform_image(reference) for reference in pins.image))
    else:
        _, current = start.release(environment)
        refuse_held(environment, current)
        edit = bumping(environment, _pins(pins, current, Cluster(context)))
    land_and_show(start, environment, edit, landing, json=json)
    return 0


def _pins(wanted: PinOptions, current: Release | None, cluster: Cluster) -> Pins:
    """Look up what is wanted, once: an alias that moves later moves nothing here."""
    if len(wanted.image) > 1:
        raise BadInputError("--image: an environment runs one image.")
    images = [parse_image(reference, current.image.repository if current else None) for reference in wanted.image]
    candidate = None
    if wanted.model:
        reference = completed(wanted.model, current.model.name if current else None)
        with registry(wanted.mlflow_url, cluster) as models:
            candidate = models.find(reference)
    return Pins(image=images[0] if images else None, candidate=candidate, chart=wanted.chart)


def _platform_image(reference: str) -> tuple[str, Image]:
    app, separator, image = reference.partition("=")
    if not separator:
        raise BadInputError(f"--image: {reference!r} does not say whose: APP=REPOSITORY:TAG@sha256:DIGEST.")
    return app, parse_image(image)

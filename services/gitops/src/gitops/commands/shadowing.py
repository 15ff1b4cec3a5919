"""The command that runs a shadow: another version that gets the same rows, but does not answer."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from gitops.cluster.client import Cluster
from gitops.commands.landing import NO_LANDING, LandingOptions, land_and_show
from gitops.commands.options import Flag, Json, MlflowUrl, registry
from gitops.errors import BadInputError
from gitops.git.repository import Repository
from gitops.git.snapshot import Edit, Snapshot
from gitops.pins.bump import known_model, refuse_held
from gitops.pins.history import steps
from gitops.pins.registry import completed
from gitops.pins.release import Model
from gitops.pins.shadow import Wanted, lift_shadow, shadow_service
from gitops.platform.reader import platform_at
from gitops.platform.targets import Target, one, source_of
from gitops.promotion.arrival import Arrivals
from gitops.promotion.readiness import readiness
from gitops.terminal import Terminal


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ShadowOptions:
    """What to try."""

    model: str | None = None
    """VERSION or @ALIAS of the service's model in the registry; it must have passed its gate."""
    sample: Annotated[float | None, Parameter(validator=Number(gt=0, lte=1))] = None
    """The share of requests whose rows the shadow gets, above 0 and up to 1. [default: unchanged; 0.1 for a first
    shadow]"""
    off: Flag = False
    """Remove the shadow."""
    mlflow_url: MlflowUrl = None
    """Address of MLflow. [default: the cluster's own, through kubectl port-forward]"""


_NOTHING = ShadowOptions()


def shadow(
    target: str,
    /,
    wanted: ShadowOptions = _NOTHING,
    landing: LandingOptions = NO_LANDING,
    *,
    context: str | None = None,
    json: Json = False,
) -> int:
    """Run another version on the same rows in the same pods, without answering, and count the differences.

    It pins the shadow and nothing else, so machines may do it even if other pins change only by pull requests. It
    refuses a version that never answered in the source environment. With exit code 3 it refuses a version that the
    source environment's cluster reports a problem with, and a held service. --off always works.

    Args:
        target: ENV/SERVICE.
        wanted: What to try.
        landing: What to do with the commit.
        context: Context of the kubeconfig. [default: the current one]
        json: Print what changed as JSON.
    """
    if wanted.off == bool(wanted.model or wanted.sample):
        raise BadInputError("Name a version to try with --model, a new --sample for the present shadow, or --off.")
    start = landing.start(Repository.find())
    edit = lift_shadow(target) if wanted.off else _edit(start, target, wanted, context)
    return land_and_show(start, edit, landing, json=json).exit_code


def _edit(start: Snapshot, name: str, wanted: ShadowOptions, context: str | None) -> Edit:
    if wanted.model is None:
        return shadow_service(name, Wanted(sample=wanted.sample))
    target = one(platform_at(start), name)
    # Refuse before the registry is queried, if the shadow is refused anyway.
    refuse_held(target, start.released(target)[1])
    whole = completed(wanted.model, target.service.model)
    known_model(target, whole.replace("@", "/").partition("/")[0])
    with registry(wanted.mlflow_url, Cluster(context)) as models, Terminal().working("Looking up the model"):
        model = models.find(whole).model
    edit = shadow_service(name, Wanted(model=model, sample=wanted.sample))
    # Refuse an invalid shadow before the cluster is queried.
    edit(start)
    _refuse_unwell(start, target, model, context)
    return edit


def _refuse_unwell(start: Snapshot, target: Target, model: Model, context: str | None) -> None:
    """Refuse a version with problems in the source environment, as for a promotion, but without a minimum age."""
    if not target.environment.source:
        return
    source = source_of(platform_at(start), target)
    found = steps(start.repository, source, start.commit)
    if not found or found[0].release is None or found[0].release.model.version != model.version:
        return
    seen = readiness(start.repository, Cluster(context, patient=False), source, found, 0, Arrivals(start, None))
    if seen.live is None:
        Terminal().note(f"The state of {model.name} {model.version} in {source} is not known: {seen.problem}")

"""What the registry knows about a version: its columns for slices, its held-out metrics, and its gate."""

import msgspec
import yaml
from mlflow.artifacts import load_text
from mlflow.exceptions import MlflowException
from msgspec import Struct

from modelformat.mlmodel import FormatError, parse_mlmodel
from training.checks import Relation
from training.outcomes.seen import Version
from training.registry import Registry
from training.registry import Version as Registered
from training.tracking import REGISTERED_FROM, Tracking

_METRICS = ("accuracy", "f1_macro", "rmse", "mae", "r2")


class Bound(Struct, frozen=True):
    """The gate's bound of a metric."""

    relation: Relation
    value: float


class Known(Struct, frozen=True):
    """A version's columns whose values are slices, its metrics on held-out rows, and the bounds of its gate."""

    slices: tuple[str, ...] = ()
    held_out: dict[str, float] = {}
    gate: dict[str, Bound] = {}


class _Check(Struct, frozen=True):
    name: str
    relation: Relation | None = None
    bound: float | None = None


class _Report(Struct, frozen=True):
    checks: tuple[_Check, ...]


def known_of(tracking: Tracking, versions: list[Version]) -> dict[Version, Known]:
    """Return what is known of the registered versions, by digest: another registry may use the same version numbers.

    Raises:
        OutageError: MLflow does not answer.
    """
    registry = Registry(tracking)
    by_digest = {
        registered.digest: registered
        for name in sorted({version.model for version in versions})
        for registered in registry.versions(name)
    }
    return {
        version: _known(tracking, registry, by_digest[version.digest])
        for version in versions
        if version.digest in by_digest
    }


def _known(tracking: Tracking, registry: Registry, version: Registered) -> Known:
    parameters, metrics = registry.run_data(version.run_id)
    # The metrics of a model from elsewhere are on rows that it may have learned from.
    held_out = {name: metrics[name] for name in _METRICS if name in metrics and REGISTERED_FROM not in parameters}
    return Known(_slices(tracking, version), held_out, _gate(tracking, version.run_id))


def _slices(tracking: Tracking, version: Registered) -> tuple[str, ...]:
    with tracking.downloaded(f"{version.uri}/MLmodel") as path:
        content = path.read_bytes()
    try:
        columns = parse_mlmodel(yaml.safe_load(content)).metadata.columns
    except (yaml.YAMLError, FormatError):
        return ()
    return tuple(column.name for column in columns or () if column.kind == "category" and not column.sensitive)


def _gate(tracking: Tracking, run_id: str | None) -> dict[str, Bound]:
    if run_id is None:
        return {}
    with tracking.reachable():
        try:
            if not any(found.path == "gate.json" for found in tracking.client.list_artifacts(run_id)):
                return {}
            text = load_text(f"runs:/{run_id}/gate.json")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
    try:
        checks = msgspec.json.decode(text, type=_Report).checks
    except msgspec.MsgspecError:
        return {}
    return {
        check.name: Bound(check.relation, check.bound)
        for check in checks
        if check.name in _METRICS and check.relation is not None and check.bound is not None
    }

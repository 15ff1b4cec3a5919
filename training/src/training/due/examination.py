"""The questions that decide whether a model should be trained again, and how they are answered."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct

from modelformat.tags import PASSED
from training.data import load
from training.due.alerts import Alert, firing
from training.due.changes import changed, commits_since, fingerprint, listed, recorded
from training.due.settings import DueSettings
from training.due.verdict import Finding, Verdict, reason_of
from training.errors import OutageError
from training.model_folder import TRAINING_FILE, read_model_file
from training.registry import Registry, Version
from training.report import moment
from training.settings import Settings
from training.tracking import Tracking

_COMMIT = "mlflow.source.git.commit"


class Asked(Struct, frozen=True, kw_only=True):
    """The sources other than MLflow.

    Attributes:
        prometheus: Its address; empty if no alerts are checked.
        labels: The labels that alerts must have in addition to the model's name.
    """

    prometheus: str = ""
    labels: Mapping[str, str] = {}


class _Base(Struct, frozen=True):
    """The newest version that passed the gate, and what its run recorded."""

    version: Version
    params: Mapping[str, str]
    commit: str | None

    @property
    def trained(self) -> datetime:
        return datetime.fromtimestamp(self.version.created / 1000, UTC)

    @property
    def title(self) -> str:
        return f"version {self.version.version}" + (f" ({self.version.release})" if self.version.release else "")


def examine(folder: Path, settings: Settings, asked: Asked, now: datetime | None = None) -> Verdict:
    """Find out whether a model should be trained again.

    Everything is compared with the newest version that passed the gate, even if it still waits for its promotion.

    Args:
        folder: The model's folder.
        settings: The settings of a run that would train it.
        asked: The sources other than MLflow.
        now: The current time, for ages; by default the clock's.

    Raises:
        BadInputError: The folder's file or its data cannot be used.
        OutageError: MLflow does not answer. Outages of other services are findings.
    """
    now = now or datetime.now(UTC)
    file = read_model_file(folder / TRAINING_FILE)
    wanted = file.due or DueSettings()
    name = settings.name or file.name
    registry = Registry(Tracking(settings.tracking_uri))
    versions = registry.versions(name)
    passed = next((version for version in versions if version.gate == PASSED), None)
    champion = registry.champion_of(versions, settings.gate.champion)
    if passed is None:
        findings: tuple[Finding, ...] = (Finding("version", "due", f"No version of {name} has passed the gate yet."),)
    else:
        params, tags = registry.run_record(passed.run_id)
        base = _Base(passed, params, tags.get(_COMMIT))
        findings = (
            _by_age(base, wanted, now),
            _by_alerts(name, base, wanted, asked, now),
            _by_data(base, wanted, settings),
            _by_settings(base, wanted, folder),
        )
    return Verdict(
        name=name,
        folder=str(folder),
        version=passed.version if passed else None,
        champion=champion.version if champion else None,
        findings=findings,
        due=any(finding.answer == "due" for finding in findings),
        reason=reason_of(findings),
    )


def _by_age(base: _Base, wanted: DueSettings, now: datetime) -> Finding:
    if wanted.days is None:
        return Finding("age", "not asked", "due.days is null.")
    age = (now - base.trained).total_seconds() / 86400
    said = f"{base.title} is {age:.1f} days old, and due.days is {wanted.days:g}."
    return Finding("age", "due" if age > wanted.days else "not due", said[0].upper() + said[1:])


def _by_alerts(name: str, base: _Base, wanted: DueSettings, asked: Asked, now: datetime) -> Finding:
    if not wanted.alerts:
        return Finding("alerts", "not asked", "due.alerts names none.")
    if not asked.prometheus:
        return Finding("alerts", "not asked", "No Prometheus was named (--prometheus).")
    try:
        found = [alert for alert in firing(asked.prometheus, name, asked.labels) if alert.name in wanted.alerts]
    except OutageError as error:
        return Finding("alerts", "unknown", str(error))
    if not found:
        return Finding("alerts", "not due", f"None of {', '.join(wanted.alerts)} fires for {name}.")
    patient = now - base.trained < timedelta(days=wanted.patience)
    fresh = [alert for alert in found if not patient or alert.active_at > base.trained]
    if fresh:
        # In the order of the settings, which is the order of trust. Of each alert, the one that fired first.
        first = {alert.name: alert for alert in reversed(fresh)}
        return Finding("alerts", "due", " ".join(_told(first[rule]) for rule in wanted.alerts if rule in first))
    names = ", ".join(dict.fromkeys(alert.name for alert in found))
    return Finding(
        "alerts", "not due",
        f"{names} fired before {base.title} was trained at {moment(base.version.created)} UTC. That version waits for "
        f"its promotion or for the end of the alert's window; after {wanted.patience:g} days, the alert counts again.",
    )  # fmt: skip


def _told(alert: Alert) -> str:
    since = alert.active_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    return f"{alert.name} since {since} UTC" + (f": {alert.summary}." if alert.summary else ".")


def _by_data(base: _Base, wanted: DueSettings, settings: Settings) -> Finding:
    if wanted.rows is None:
        return Finding("data", "not asked", "due.rows is null.")
    then, hashed = base.params.get("rows", ""), base.params.get("data_sha256")
    if not then.isdigit() or hashed is None:
        return Finding("data", "not asked", f"{_first(base.title)} has no record of the data that it was trained with.")
    try:
        dataset = load(settings)
    except OutageError as error:
        return Finding("data", "unknown", str(error))
    if dataset.sha256 == hashed:
        return Finding("data", "not due", f"{dataset.source} has not changed since {base.title}: {then} rows.")
    rows, more = len(dataset.rows), len(dataset.rows) - int(then)
    if dataset.times is not None:
        # The log deletes old rows. Those are not fewer rows to learn from, so only newer rows count.
        more = int((dataset.times > base.trained.timestamp()).sum())
    said = f"{dataset.source} has {rows} rows, and {base.title} was trained with {then}"
    if wanted.rows == 0:
        return Finding("data", "due", f"{said}; its content has changed.")
    share = more / int(then)
    newer = f"{more} are newer than the version" if dataset.times is not None else f"{share:+.0%}"
    said += f": {newer}, and due.rows is {wanted.rows:.0%}."
    return Finding("data", "due" if share >= wanted.rows else "not due", said)


def _by_settings(base: _Base, wanted: DueSettings, folder: Path) -> Finding:
    if not wanted.settings:
        return Finding("settings", "not asked", "due.settings is false.")
    then, commits = recorded(base.version.settings), commits_since(folder, base.commit)
    by = f" ({listed(commits)})" if commits else ""
    if then is not None:
        names = changed(then, fingerprint(folder))
        if names:
            return Finding("settings", "due", f"{', '.join(names)} changed since {base.title}{by}.")
        return Finding("settings", "not due", f"{folder} has not changed since {base.title}.")
    if commits:
        return Finding("settings", "due", f"{folder} changed in git since {base.title}{by}.")
    if commits is not None:
        return Finding("settings", "not due", f"{folder} has not changed in git since {base.title}.")
    return Finding("settings", "not asked", f"Neither {base.title} nor git has a record of its settings.")


def _first(text: str) -> str:
    return text[0].upper() + text[1:]

"""The model registry: registration that is all or nothing, release numbers, aliases, and finding versions."""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import yaml
from mlflow.entities import RunData
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from msgspec import Struct

from modelformat.tags import CANDIDATE, DIGEST, GATE, PASSED, REASON, RELEASE, SETTINGS
from training.contract import Contract, contract_of
from training.errors import BadInputError, OutageError
from training.tracking import Tracking

_RELEASE = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")


class Version(Struct, frozen=True, kw_only=True):
    """One registered version.

    `reason` is why it was trained, and `settings` the fingerprint of its folder, if its tags have them.
    """

    name: str
    version: str
    release: str | None
    digest: str | None
    gate: str | None
    aliases: tuple[str, ...]
    run_id: str | None
    created: int
    metrics: dict[str, float] = {}
    reason: str | None = None
    settings: str | None = None

    @property
    def title(self) -> str:
        """Name, number and release, for people."""
        return f"{self.name} version {self.version}" + (f" ({self.release})" if self.release else "")

    @property
    def uri(self) -> str:
        """Its address in MLflow."""
        return f"models:/{self.name}/{self.version}"


class Registry:
    """The registered models of one MLflow."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._client = tracking.client

    def versions(self, name: str) -> list[Version]:
        """Return all versions of a model, newest first; none if there is no such model.

        Raises:
            OutageError: MLflow does not answer.
        """
        with self._tracking.reachable():
            aliases = self._aliases(name)
            if aliases is None:
                return []
            found: list[ModelVersion] = []
            token = None
            while True:
                page = self._client.search_model_versions(f"name='{name}'", max_results=200, page_token=token)
                found += page
                token = page.token
                if not token:
                    break
        versions = [_version(entry, aliases) for entry in found]
        return sorted(versions, key=lambda version: int(version.version), reverse=True)

    def existing(self, name: str) -> list[Version]:
        """Return all versions of a model, as `versions` does, but refuse a model without any.

        Raises:
            BadInputError: There is no such model, or it has no versions.
            OutageError: MLflow does not answer.
        """
        versions = self.versions(name)
        if not versions:
            raise BadInputError(f"MLflow at {self._tracking.address} has no version of a model {name!r}.")
        return versions

    def find(self, name: str, reference: str) -> Version:
        """Return a version by its number, its release (`v1.2.0`) or an alias.

        Raises:
            BadInputError: There is no such model or version; the sentence lists those that exist.
            OutageError: MLflow does not answer.
        """
        versions = self.existing(name)
        for version in versions:
            if reference in (version.version, version.release, *version.aliases):
                return version
        known = [version.version for version in versions[:10]]
        aliases = sorted(alias for version in versions for alias in version.aliases)
        raise BadInputError(
            f"{name} has no version, release or alias {reference!r}: there are the versions {', '.join(known)} and "
            f"{'the aliases ' + ', '.join(aliases) if aliases else 'no aliases'}."
        )

    def champion(self, name: str, alias: str) -> Version | None:
        """Return the version with an alias, if any."""
        return self.champion_of(self.versions(name), alias)

    @staticmethod
    def champion_of(versions: Iterable[Version], alias: str) -> Version | None:
        """Return the version with an alias among versions, if any."""
        return next((version for version in versions if alias in version.aliases), None)

    def next_release(self, name: str, contract: Contract) -> str:
        """Return the next release number: v1.0.0, or the successor of the highest one.

        The major number rises if the contract with callers differs from the highest release's, else the minor number.

        Raises:
            OutageError: MLflow does not answer, or the highest release's description is gone.
        """
        released = [(parsed, version) for version in self.versions(name) if (parsed := _parsed(version.release))]
        if not released:
            return "v1.0.0"
        (major, minor, _), latest = max(released, key=lambda pair: pair[0])
        return f"v{major}.{minor + 1}.0" if self._contract(latest) == contract else f"v{major + 1}.0.0"

    def register(self, name: str, model_id: str, run_id: str, tags: Mapping[str, str], description: str) -> Version:
        """Register a logged model and move the alias `candidate` to it, completely or not at all.

        Raises:
            OutageError: MLflow does not answer, or another run took the same release number meanwhile.
        """
        with self._tracking.reachable():
            before = next((found.version for found in self.versions(name) if CANDIDATE in found.aliases), None)
            created = self._create_model(name)
            try:
                entry = self._client.create_model_version(
                    name,
                    source=f"models:/{model_id}",
                    run_id=run_id,
                    tags=dict(tags),
                    description=description,
                    model_id=model_id,
                )
                number = str(entry.version)
                self._refuse_taken_release(name, run_id, number, tags[RELEASE])
                self._client.set_registered_model_alias(name, CANDIDATE, number)
            except BaseException:
                self._withdraw(name, run_id, created, before)
                raise
        return self.find(name, number)

    def promote(self, name: str, source: str, alias: str) -> tuple[Version, Version | None]:
        """Move an alias to a version that passed its gate.

        Args:
            name: The registered model.
            source: The version to move it to: a number, a release or another alias.
            alias: The alias to move.

        Returns:
            The version that now has the alias, and the one that had it before, if any.

        Raises:
            BadInputError: There is no such version, it did not pass the gate, or the alias is not allowed.
            OutageError: MLflow does not answer.
        """
        if not _ALIAS.fullmatch(alias) or alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias):
            raise BadInputError(
                f"--to: {alias!r} cannot be an alias: an alias is a word other than 'latest' and version numbers."
            )
        version = self.find(name, source)
        if version.gate != PASSED:
            raise BadInputError(f"{version.title} did not pass the gate (its tag 'gate' is {version.gate!r}).")
        before = next((other for other in self.versions(name) if alias in other.aliases), None)
        with self._tracking.reachable():
            self._client.set_registered_model_alias(name, alias, version.version)
        return self.find(name, version.version), before

    def with_metrics(self, versions: Sequence[Version]) -> list[Version]:
        """Return versions with the metrics of their runs; a version whose run was deleted has none."""
        return [msgspec.structs.replace(version, metrics=self.run_data(version.run_id)[1]) for version in versions]

    def run_data(self, run_id: str | None) -> tuple[dict[str, str], dict[str, float]]:
        """Return parameters and metrics of a run; both empty if there is none."""
        data = self._run(run_id)
        return (dict(data.params), dict(data.metrics)) if data else ({}, {})

    def run_record(self, run_id: str | None) -> tuple[dict[str, str], dict[str, str]]:
        """Return parameters and tags of a run; both empty if there is none."""
        data = self._run(run_id)
        return (dict(data.params), dict(data.tags)) if data else ({}, {})

    def artifact_uri(self, version: Version) -> str:
        """Return the place of a version's folder in the artifact store."""
        with self._tracking.reachable():
            uri: str = self._client.get_model_version_download_uri(version.name, version.version)
        return uri

    def _run(self, run_id: str | None) -> RunData | None:
        if not run_id:
            return None
        with self._tracking.reachable():
            try:
                return self._client.get_run(run_id).data
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise

    def _aliases(self, name: str) -> dict[str, str] | None:
        try:
            return {alias: str(number) for alias, number in self._client.get_registered_model(name).aliases.items()}
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _create_model(self, name: str) -> bool:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_ALREADY_EXISTS":
                return False
            raise
        return True

    def _withdraw(self, name: str, run_id: str, created: bool, candidate: str | None) -> None:
        # Found by the run: the version may exist although the answer with its number was lost.
        for version in self.versions(name):
            if version.run_id == run_id:
                self._client.delete_model_version(name, version.version)
        left = self.versions(name)
        if created and not left:
            self._client.delete_registered_model(name)
        elif candidate and not any(CANDIDATE in version.aliases for version in left):
            self._client.set_registered_model_alias(name, CANDIDATE, candidate)

    def _refuse_taken_release(self, name: str, run_id: str, number: str, release: str) -> None:
        others = [
            version for version in self.versions(name) if version.release == release and version.version != number
        ]
        for version in others:
            if version.run_id != run_id:
                raise OutageError(
                    f"Another training run registered {version.title} at the same moment. Nothing was registered: run "
                    "this again."
                )
        for version in others:
            # MLflow's answer was lost, and its client repeated the request.
            self._client.delete_model_version(name, version.version)

    def _contract(self, version: Version) -> Contract | None:
        with self._tracking.downloaded(f"{version.uri}/MLmodel") as path:
            content = path.read_bytes()
        try:
            return contract_of(yaml.safe_load(content))
        except (yaml.YAMLError, KeyError, TypeError, ValueError):
            # A model from elsewhere has no contract.
            return None


def _version(entry: ModelVersion, aliases: Mapping[str, str]) -> Version:
    number = str(entry.version)
    return Version(
        name=entry.name,
        version=number,
        release=entry.tags.get(RELEASE),
        digest=entry.tags.get(DIGEST),
        gate=entry.tags.get(GATE),
        aliases=_pointing_at(number, aliases.items()),
        run_id=entry.run_id or None,
        created=int(entry.creation_timestamp),
        reason=entry.tags.get(REASON),
        settings=entry.tags.get(SETTINGS),
    )


def _pointing_at(number: str, aliases: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(sorted(alias for alias, target in aliases if target == number))


def _parsed(release: str | None) -> tuple[int, int, int] | None:
    match = _RELEASE.fullmatch(release or "")
    return (int(match[1]), int(match[2]), int(match[3])) if match else None

"""A service whose new versions are released as canaries, and what the steps of its story do with it."""

from collections.abc import Callable
from typing import Any

import msgspec

from tests.e2e.argocd import rollouts
from tests.e2e.argocd.pipeline import LoadResult, Pipeline, described, save
from tests.e2e.argocd.places import PRODUCTION, STAGING, Place
from tests.e2e.argocd.rollouts import RolloutState
from tests.e2e.images import Image
from tests.e2e.story import REPORTS

RIGHT = "setosa"
"""The class of the row that the load sends."""
RATE = 20
REVERTED_AFTER = 15 * 60
"""Seconds for which a bad version answers everybody, if all pods are replaced at once and a person reverts."""
MODEL = "models/iris/training.yaml"
VALUES = "envs/production/iris/values.yaml"
# Steps of the Rollout that the chart makes for two shares. The smoke test is part of the first.
SMOKE, FIRST, SECOND, ALIAS = 1, 2, 4, 5
PASSED, FAILED = "Successful", "Failed"
# Shorter than in production: the load sends enough requests for it. The slack is for a machine that runs all of this on
# two cores, where a new pod is slow at first.
CANARY = {
    "strategy": "canary",
    # The suite's default is too short for pods that start during all of this: it would stop a good version.
    "progressDeadlineSeconds": 120,
    "canary": {
        "steps": [{"weight": 20, "seconds": 40}, {"weight": 60, "seconds": 20}],
        "analysis": {
            "intervalSeconds": 10,
            "windowSeconds": 30,
            "minRequests": 20,
            "minRows": 20,
            "latencySlackSeconds": 0.5,
        },
    },
}


class Canaries(msgspec.Struct, frozen=True):
    """The service in production, and the environment that feeds it."""

    pipeline: Pipeline
    production: Place
    staging: Place

    # --- state ---

    def version(self) -> str:
        """Return the version number that git pins in production."""
        return str(self.pipeline.pins(self.production)["model"]["version"])

    def state(self) -> RolloutState:
        """Return the state of the Rollout, which must exist."""
        return self.wait("the Rollout is seen by its controller", lambda _: True, seconds=60)

    def wait(self, what: str, ends: Callable[[RolloutState], bool], *, seconds: float) -> RolloutState:
        """Wait for a state of the Rollout. A timeout describes the Rollout, the application and the controller."""
        kube, place = self.pipeline.kube, self.production

        def look() -> RolloutState | None:
            found = rollouts.state_of(kube, place)
            return found if found and ends(found) else None

        try:
            return kube.wait(what, look, seconds=seconds, namespace=place.namespace, names=("none",))
        except TimeoutError as error:
            app = described(self.pipeline.application(place.application))
            save(REPORTS / "canary-rollout.log", rollouts.explained(kube, place))
            raise TimeoutError(f"{error}\n{app}\n{rollouts.state_of(kube, place)}") from error

    def wait_analysis(self, pods: str, step: int) -> None:
        """Wait until the analysis of one step begins."""
        kube, place = self.pipeline.kube, self.production
        kube.wait(
            f"the analysis of step {step} begins",
            lambda: step in rollouts.analyses(kube, place, pods),
            seconds=180,
            namespace=place.namespace,
            names=("none",),
        )

    # --- what people do ---

    def trained(self, name: str, change: Callable[[dict[str, Any]], None]) -> str:
        """Train a version with changed settings, release it where production is fed from, and return its number."""
        pipeline, fork = self.pipeline, self.pipeline.fork
        fork.edit(MODEL, change)
        # The story runs the commands one by one. A training that bumps would interfere.
        fork.edit("envs/platform/training.yaml", lambda values: values.pop("bump", None))
        commit = fork.commit(f"Train a version: {name}")
        pipeline.look_at_git()
        pipeline.wait_settled("training-iris", commit)
        pipeline.kube.run_cronjob("ml-pipeline", "training-iris", name, seconds=300)
        return self.bumped("--model=@candidate")

    def bumped(self, *pins: str) -> str:
        """Release other pins in the environment that feeds production, and return the model's number."""
        fork = self.pipeline.fork
        fork.gitops("bump", str(self.staging), *pins)
        self.pipeline.follow(fork.git("rev-parse", "HEAD"), self.staging)
        return str(self.pipeline.pins(self.staging)["model"]["version"])

    def promoted(self) -> str:
        """Promote, and wait until Argo CD has synced the commit, but not for the canary."""
        commit = self.pipeline.promote(self.production)
        self.pipeline.look_at_git()
        return commit

    def unheld(self) -> None:
        """Remove the hold that a rollback left."""
        self.pipeline.fork.gitops("unhold", str(self.production), "--pr")
        self.pipeline.merge_pull(self.pipeline.forge.pull(f"unhold/{self.production}"))

    def image(self, image: Image | None, model: str) -> None:
        """Release an image of serving with a fault in the environment that feeds production."""
        assert image, "its image was not pushed: make e2e-faulty"
        self.bumped(f"--model={model}", f"--image={image.pin}")

    # --- results ---

    def begun(self, old: RolloutState) -> RolloutState:
        """Wait until the controller has begun with pods other than the old ones."""
        return self.wait("the canary begins", lambda now: now.wanted != old.wanted, seconds=240)

    def stopped(self, old: RolloutState) -> RolloutState:
        """Wait until the canary is aborted and only the old pods answer. The first share must have stopped it."""
        pipeline, production = self.pipeline, self.production
        self.begun(old)
        stopped = self.wait("the canary is stopped", lambda now: now.aborted, seconds=240)
        pipeline.wait_application(
            production.application, lambda app: app["status"].get("health", {}).get("status") == "Degraded", 120
        )
        pipeline.kube.wait(
            "stable answers alone",
            lambda: len(pipeline.serving_pods(production)) == len(pipeline.ready_names(production)),
            seconds=120,
            namespace=production.namespace,
        )
        assert stopped.stable == old.stable
        found = rollouts.analyses(pipeline.kube, production, stopped.wanted)
        assert found == {SMOKE: PASSED, FIRST: FAILED}, self.status()
        return stopped

    def status(self) -> str:
        """Return the line of `gitops status` about production's canary, or an empty string."""
        lines = self.pipeline.fork.gitops("status").splitlines()
        return next((line for line in lines if line.startswith(f"{self.production}: ")), "")

    def taken_back(self, *command: str) -> str:
        """Propose the earlier pins with one of the commands, as a person or a schedule does, and merge the proposal.

        Returns:
            The commit, which Argo CD has brought to production by itself.
        """
        pipeline = self.pipeline
        pipeline.fork.gitops(*command, "--pr")
        commit = pipeline.merge_pull(pipeline.forge.pull(f"rollback/{self.production}"))
        pipeline.follow(commit, self.production)
        return commit


def canaries_of(pipeline: Pipeline) -> Canaries:
    """Return the service under its present name: after a migration it is the one of version 0.1."""
    return Canaries(pipeline, _named(pipeline, PRODUCTION), _named(pipeline, STAGING))


def _named(pipeline: Pipeline, place: Place) -> Place:
    services = pipeline.fork.read("platform.yaml")["services"]
    legacy = next(entry.get("legacyName", "") for entry in services if entry["name"] == place.service)
    return Place(place.environment, place.service, legacy=legacy)


def wrong(result: LoadResult) -> int:
    """Return how many answers were not the class of the row."""
    return sum(count for prediction, count in result.predictions.items() if prediction != RIGHT)


def compared(count: int, kind: str, at_once: int) -> str:
    """Compare a count of bad answers with that of a release to all pods at once. It must be less than a tenth."""
    assert 0 < count < 0.1 * at_once, f"{count} {kind} answers of {at_once}"
    return (
        f"{count} {kind} answers before stable answered alone, {count / at_once:.1%} of the {at_once} that this load "
        f"gets of a release at once that is reverted after {REVERTED_AFTER // 60} minutes"
    )

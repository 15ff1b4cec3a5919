"""The last step of the canaries: production becomes a Deployment again."""

from tests.e2e.argocd import rollouts
from tests.e2e.argocd.canaries import RATE, VALUES, Canaries
from tests.e2e.argocd.pipeline import Pipeline
from tests.e2e.report import Report


def test_a_rollout_becomes_a_deployment_again_without_a_failed_request(
    pipeline: Pipeline, report: Report, canary: Canaries
) -> None:
    production, version = canary.production, canary.version()
    with pipeline.load(production, rate=RATE) as results:
        pipeline.fork.edit(VALUES, lambda values: values.pop("rollout"))
        pipeline.follow(pipeline.fork.commit("Replace the pods of iris one by one again"), production)
    assert rollouts.state_of(pipeline.kube, production) is None
    assert pipeline.predict(production).version == version
    report.add("Requests", f"- from a Rollout to a Deployment: {results[0]}")
    assert results[0].dropped == 0, results[0].errors

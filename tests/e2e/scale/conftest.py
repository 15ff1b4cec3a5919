"""One run: one model, served by one to five pods with little CPU each, and a load generator in a pod."""

from collections.abc import Iterator

import pytest

from bench.scale import FIGURES, Scale
from tests.e2e.charts.conftest import images, kube_cluster, stack
from tests.e2e.charts.stack import Stack
from tests.e2e.kube import together
from tests.e2e.scale.generator import Generator
from tests.e2e.story import Story, begin, report

__all__ = ["images", "kube_cluster", "report", "stack"]  # fixtures of the charts' own tests

_STEP_SECONDS = 900


def pytest_configure(config: pytest.Config) -> None:
    """Begin the story."""
    begin(
        config,
        Story("The serving API with one to five pods", "scale-report.md", {"test_scale"}),
        step_seconds=_STEP_SECONDS,
    )


@pytest.fixture(scope="session")
def platform(stack: Stack) -> Stack:
    """Return a registry with one version."""
    together(lambda: stack.helm.install(stack.minio_release()), lambda: stack.helm.install(stack.postgres_release()))
    together(
        lambda: stack.helm.install(stack.mlflow_release()),
        lambda: stack.helm.install(stack.training_release()),
    )
    stack.kube.run_cronjob(stack.platform, "training-iris", "train", seconds=300)
    return stack


@pytest.fixture(scope="session")
def generator(platform: Stack) -> Generator:
    """Return the load generator, in a pod in the Service's namespace."""
    generator = Generator(platform)
    generator.start()
    return generator


@pytest.fixture(scope="session")
def scale() -> Iterator[Scale]:
    """Yield the measurements. They are written to a file at the end, from which the document is made."""
    scale = Scale()
    yield scale
    scale.write(FIGURES)

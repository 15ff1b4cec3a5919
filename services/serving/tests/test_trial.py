"""A version is tried in a separate process: what it may use is bounded, and nothing of it is left afterwards."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from services.serving.tests.bundles import write_bundle
from services.serving.tests.conftest import Bundle, wait_for
from services.serving.tests.hostile import write_endless, write_swollen
from serving.artifacts.files import Downloaded
from serving.errors import ModelUnusableError
from serving.runtimes.base import RuntimeOptions
from serving.trial import Bounds, Trials

TRUSTING = RuntimeOptions(trust_pickle=True)
# Each of them starts processes that import the libraries of a model.
pytestmark = pytest.mark.slow


def tried(folder: Path, digest: str, bounds: Bounds | None = None, options: RuntimeOptions | None = None) -> list[str]:
    """Try a version, and return the runtimes that the process named."""
    named: list[str] = []
    asyncio.run(Trials(options or RuntimeOptions(), bounds or Bounds()).run(Downloaded(folder, digest), named.append))
    return named


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    assert [process for process in psutil.Process().children() if "serving.trial_process" in process.cmdline()] == []


def test_a_good_version_passes_and_names_its_runtime(iris: Bundle) -> None:
    assert tried(iris.folder, iris.digest) == ["onnx"]
    assert tried(iris.folder, iris.digest, options=RuntimeOptions(prefer="sklearn")) == ["sklearn"]


def test_the_reason_of_a_refusal_is_reported(tmp_path: Path) -> None:
    digest = write_bundle(tmp_path, onnx=False, saved_as="pickle")
    with pytest.raises(ModelUnusableError, match="PICKLE_MODELS=trust-and-run"):
        tried(tmp_path, digest)


@pytest.mark.parametrize(
    ("bounds", "way_out"), [(Bounds(seconds=3), "TRIAL_SECONDS"), (Bounds(cpu_seconds=2), "TRIAL_CPU_SECONDS")]
)
def test_a_graph_that_loops_for_ever_is_given_up(tmp_path: Path, bounds: Bounds, way_out: str) -> None:
    digest = write_endless(tmp_path)
    with pytest.raises(ModelUnusableError, match=f"raise {way_out}$"):
        tried(tmp_path, digest, bounds)


def test_a_file_that_needs_too_much_memory_is_given_up(tmp_path: Path) -> None:
    digest = write_swollen(tmp_path)
    with pytest.raises(ModelUnusableError, match=r"more than 387 MiB of memory.*TRIAL_MEMORY_BYTES"):
        tried(tmp_path, digest)


def test_a_failed_version_is_not_tried_again_for_a_while(tmp_path: Path) -> None:
    digest = write_bundle(tmp_path, onnx=False, saved_as="pickle")

    async def again() -> float:
        trials = Trials(RuntimeOptions(), Bounds())
        for _ in range(2):
            start = time.monotonic()
            with pytest.raises(ModelUnusableError, match="PICKLE_MODELS"):
                await trials.run(Downloaded(tmp_path, digest), lambda _: None)
        return time.monotonic() - start

    assert asyncio.run(again()) < 0.01  # no process starts in that time


class Code:
    """An object whose pickle runs some code."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (self.code,)


def running(folder: Path, code: str) -> str:
    """Write a version whose pickle runs some code, and return its digest."""
    return write_bundle(folder, onnx=False, saved_as="pickle", estimator=Code(code))


def test_a_file_that_crashes_the_process_crashes_only_the_trial(tmp_path: Path) -> None:
    digest = running(tmp_path, "import os; os.abort()")
    with pytest.raises(ModelUnusableError, match=r"the process that opened it ended \(SIGABRT\)"):
        tried(tmp_path, digest, options=TRUSTING)


LOOK_AROUND = """
import json, os, subprocess
files = subprocess.run(["ls", "-l", f"/proc/{{os.getpid()}}/fd"], stdout=subprocess.PIPE, text=True).stdout
open({found!r}, "w").write(json.dumps([dict(os.environ), files]))
"""


def test_secrets_and_open_files_are_not_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tmp_path / "found"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    digest = running(tmp_path / "model", LOOK_AROUND.format(found=str(found)))
    with (tmp_path / "something else").open("wb") as other:
        os.set_inheritable(other.fileno(), True)
        with pytest.raises(ModelUnusableError):
            tried(tmp_path / "model", digest, options=TRUSTING)
    environment, files = json.loads(found.read_text())
    assert "secret" not in environment.values()
    assert not [name for name in environment if name.startswith(("AWS_", "MLFLOW_", "MODEL_"))]
    assert "model.pkl" in files
    assert "something else" not in files


def test_output_of_a_model_is_not_a_report(tmp_path: Path) -> None:
    digest = running(tmp_path, """import os; os.write(1, b'{"passed":true}\\n' * 10_000); print('{"passed":true}')""")
    with pytest.raises(ModelUnusableError, match="has no predict_proba"):
        tried(tmp_path, digest, options=TRUSTING)


PARENT = """
import asyncio, sys
from pathlib import Path
from serving.artifacts.files import Downloaded
from serving.runtimes.base import RuntimeOptions
from serving.trial import Bounds, Trials
asyncio.run(Trials(RuntimeOptions(), Bounds()).run(Downloaded(Path(sys.argv[1]), sys.argv[2]), print))
"""


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    digest = write_endless(tmp_path)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), digest])
    try:
        wait_for(lambda: bool(psutil.Process(parent.pid).children()))
        [child] = psutil.Process(parent.pid).children()
        wait_for(lambda: child.cpu_times().user > 0.5)
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 5.0)


LOWER = """
import resource
from serving.trial_process import _limit
resource.setrlimit(resource.RLIMIT_CORE, (2048, 4096))
_limit(resource.RLIMIT_CORE, 8192)
print(*resource.getrlimit(resource.RLIMIT_CORE))
_limit(resource.RLIMIT_CORE, 1024, 2048)
print(*resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_a_lower_limit_of_the_server_stays() -> None:
    """A process may not raise its hard limit. A trial that tried to would end as if the model were broken."""
    done = subprocess.run([sys.executable, "-c", LOWER], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["4096", "4096", "1024", "2048"]

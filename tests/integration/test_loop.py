"""`make demo LOOP=1` as a person sees it: a model becomes wrong, and each part of the loop reacts.

The API, MLflow, the S3 store, the Pushgateway and Prometheus with the chart's own alerts are real.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.processes import program

_LIMIT_SECONDS = 900


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder with a short name, because the store puts sockets there, and their paths have a limit."""
    with tempfile.TemporaryDirectory(prefix="loop-") as folder:
        yield Path(folder)


@pytest.mark.timeout(_LIMIT_SECONDS + 60)
def test_a_model_that_becomes_wrong_is_detected_and_trained_again_with_a_reason(
    tmp_path: Path, temporary: Path
) -> None:
    report = tmp_path / "report.html"
    done = subprocess.run(
        [program("embedded"), "loop", "--report", str(report)],
        env={**os.environ, "TMPDIR": str(temporary), "COLUMNS": "400"},
        capture_output=True, check=False, text=True, timeout=_LIMIT_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    said = done.stdout

    # In the usual summer, it is as good as in the gate. In the dry one, the estimate falls first, then the truth.
    figures = re.findall(r"accuracy: realised ([\d.]+) on (\d+) rows, estimated ([\d.]+) on (\d+)(.*)", said)
    assert [(joined, logged) for _, joined, _, logged, _ in figures] == [
        ("400", "400"), ("400", "1300"), ("1300", "1300"),
    ]  # fmt: skip
    usual, late, known = ((float(real), float(guess)) for real, _, guess, *_ in figures)
    assert usual[0] > 0.93
    assert abs(usual[0] - usual[1]) < 0.05
    assert late[0] == usual[0]
    assert late[1] < usual[1] - 0.02
    assert known[0] < 0.88
    assert "below the gate: accuracy" in figures[2][4]
    assert not any("below the gate" in below for *_, below in figures[:2])

    # Both are reasons, the truth before the drift, because it is trusted more.
    reasons = said[said.index("Why training is due") :]
    assert re.search(r"ModelQualityBelowGate since .*are worse than its gate requires.*ModelInputDrift since", reasons)

    shares = re.search(r"Right answers: ([\d.]+)%, then ([\d.]+)%, and with v1\.1\.0 ([\d.]+)%", said)
    assert shares is not None, said
    before, wrong, after = map(float, shares.groups())
    assert before > 93
    assert wrong < 85
    assert after > 93

    page = report.read_text(encoding="utf-8")
    assert page.count("<polyline") == 2
    assert "champion on the newest rows" in page
    assert "v1.1.0 answers" in page
    assert not re.search(r"(src|href)=", page), "the page loads something remote"
    assert report.as_uri() in said
    assert list(temporary.iterdir()) == []


def test_a_loop_without_its_tools_names_the_missing_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [program("embedded"), "loop"], cwd=tmp_path, capture_output=True, check=False, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "pushgateway is missing: run ./tools/install pushgateway" in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []

"""docs/prediction-log.md: its code reads the log of a real service, and erases the rows of a person."""

import contextlib
import gzip
import io
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelformat.logged import FEEDBACK_SUFFIX, Told
from services.serving.tests.bundles import write_bundle
from services.serving.tests.conftest import Bundle
from tests.integration.logged import LOG_BUCKET, Logged, pinned
from tests.integration.page import Page
from tests.integration.serving_fixtures import served
from tests.integration.stores import S3Store

PAGE = Page("prediction-log.md")
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3], [7.2, 3.0, 5.8, 1.6]]


@pytest.fixture
def copied(s3: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a log, as `mc mirror` makes it, below the current folder."""
    client = s3.client(s3.writer)
    logged = Logged.below(s3, "docs/iris-")
    model = tmp_path / "model"
    settings = {**pinned(Bundle(model, write_bundle(model))), **logged.settings()}
    with served(tmp_path, settings) as (_, api):
        for name in ("order-4711", "order-1", "order-4712", "order-2"):
            api.post("/predict", json={"instances": ROWS}, headers={"x-request-id": name})
    for key in logged.names():
        file = tmp_path / LOG_BUCKET / key
        file.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(LOG_BUCKET, key, str(file))
    monkeypatch.chdir(tmp_path)
    return tmp_path / LOG_BUCKET


def run(block: str) -> tuple[dict[str, Any], str]:
    """Run a block of the page; return its names, and what it printed."""
    names: dict[str, Any] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(block, "docs/prediction-log.md", "exec"), names)  # noqa: S102  (code of our own page)
    return names, said.getvalue()


def test_duckdb_and_pandas_read_the_log_and_a_person_s_rows_are_erased(copied: Path) -> None:
    duck, pandas, erase = _blocks()
    assert [len([*filter(None, block.splitlines())]) for block in (duck, pandas)] == [2, 2]
    _, table = run(duck)
    assert all(word in table for word in ("12", "version", "date"))
    log = run(pandas)[0]["log"]
    assert sorted(set(log["request_id"])) == ["order-1", "order-2", "order-4711", "order-4712"]
    assert set(log["version"]) == {"7"}
    assert sorted(log["row"]) == sorted([0, 1, 2] * 4)
    assert log["features"].iloc[0]["petal width (cm)"] in {0.2, 1.3, 1.6}
    _, named = run(erase)
    assert named.strip()
    assert all(Path(name).is_file() for name in named.splitlines())
    left = run(pandas)[0]["log"]
    assert sorted(set(left["request_id"])) == ["order-1", "order-2"]
    assert len(left) == 6
    assert run(erase)[1] == ""
    assert len(list(copied.rglob("*.jsonl.gz"))) >= 1


def test_feedback_is_in_separate_files_and_is_erased_too(copied: Path) -> None:
    duck, pandas, erase = _blocks()
    whole = run(duck)[1]
    folder = next(copied.rglob("hour=*"))
    told = [Told("2026-01-01T00:00:00Z", name, 0, None, 1.5) for name in ("order-4711", "order-1")]
    (folder / f"told{FEEDBACK_SUFFIX}").write_bytes(gzip.compress(msgspec.json.Encoder().encode_lines(told)))
    assert run(duck)[1] == whole
    log = run(pandas)[0]["log"]
    assert (sum(log["reason"] == "sample"), sum(log["reason"] == "feedback")) == (12, 2)
    assert f"told{FEEDBACK_SUFFIX}" in run(erase)[1]
    left = run(pandas)[0]["log"]
    assert left[left["reason"] == "feedback"]["request_id"].tolist() == ["order-1"]


def _blocks() -> list[str]:
    """Return the page's blocks of Python, including one that is indented in a list."""
    return [textwrap.dedent(part.partition("```")[0]) for part in PAGE.text.split("```python\n")[1:]]

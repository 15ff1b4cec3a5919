"""The benchmark of peers without a load: aims are judged, tables and charts drawn, and the document stays whole.

The figures are made up, so that every outcome appears: met, missed, a rate that cannot be held, a server that does not
start.
"""

from pathlib import Path

import pytest

from bench import document
from bench.fortio import Measured
from bench.measure import Sample
from bench.peers import aims, charts, mixed_report, report, results
from bench.peers.results import ModelRun, Run, SubjectRun

ROOT = Path(__file__).parents[2]


def _samples(per_core: list[float], p99_ms: float = 1.0) -> list[Sample | None]:
    return [Sample(Measured(1000, 1000 / value, p50_ms=p99_ms / 2, p99_ms=p99_ms), value) for value in per_core]


def _subject(key: str, per_core: list[float], memory: float, p99_ms: float = 1.0) -> SubjectRun:
    samples = {"row/64": _samples(per_core), "row@100/s": _samples([100.0] * len(per_core), p99_ms)}
    return SubjectRun(key, key.upper(), "1.0", 300.0, 4.2, [memory] * len(per_core), samples)


@pytest.fixture
def run() -> Run:
    ours = _subject("ours", [9000.0, 10000.0, 11000.0], 100.0, 0.9)
    unheld = _subject("mlflow", [400.0, 500.0, 550.0], 600.0)
    unheld.samples["row@100/s"][1:] = [None, None]
    fallen = SubjectRun("kserve", "KServe", failures={"": "KServe ended with status 1.\nNo module | at all"})
    peers = [_subject("mlserver", [1000.0, 1000.0, 1000.0], 201.0, 3.0), unheld, fallen]
    raw = _subject("raw-asgi", [12000.0, 12000.0, 12000.0], 90.0)
    return Run("2026-01-01", "one machine.", 3, 2.0, [100], [ModelRun("logistic-regression", [ours, raw, *peers])])


def test_aims_are_judged_by_the_median_of_ratios_within_a_round(run: Run) -> None:
    judged = {aim.what: aim for aim in aims.judge(run)}

    mlserver = judged["requests/s per core, times MLSERVER"]
    assert (mlserver.wanted, mlserver.seen, mlserver.met) == ("at least 8", "10.0 (9.0 to 11.0)", True)
    assert not judged["requests/s per core, times MLFLOW"].met
    raw = judged["requests/s per core, times RAW-ASGI"]
    assert (raw.wanted, raw.seen, raw.met) == ("at least 0.9", "0.83 (0.75 to 0.92)", False)
    assert judged["resident memory, times MLSERVER"].met
    assert judged["p99 at 100/s, next to MLSERVER"].seen == "0.90 ms"


def test_p99_is_compared_only_if_the_other_holds_the_rate_in_most_rounds(run: Run) -> None:
    latencies = [aim.what for aim in aims.judge(run) if aim.what.startswith("p99")]

    assert latencies == ["p99 at 100/s, next to MLSERVER"]


def test_a_rate_that_this_project_cannot_hold_and_another_can_is_missed(run: Run) -> None:
    run.models[0].subjects[0].samples["row@100/s"][1:] = [None, None]

    missed = next(aim for aim in aims.judge(run) if aim.what == "p99 at 100/s, next to MLSERVER")

    assert (missed.seen, missed.met) == ("cannot hold it", False)


def test_the_report_names_what_failed_and_what_cannot_be_held(run: Run) -> None:
    text = report.text(run)

    assert "| KServe | start | KServe ended with status 1. No module \\| at all |" in text
    assert "| MLFLOW | 0.50 / 1.00 | cannot hold it |" in text
    assert "20.0 (20.0 to 22.5)" in text
    assert "| **missed** |" in text
    assert all(line.count("|") > 2 for line in text.splitlines() if line.startswith("|"))


def test_a_run_is_the_same_after_it_is_saved_and_loaded(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "results.json"

    results.save(run, file)

    assert report.text(results.load(file)) == report.text(run)


def test_the_mixed_table_compares_the_same_kind_of_request() -> None:
    ours, numbers = _subject("ours", [5000.0] * 3, 100.0), _subject("ours-numbers", [8000.0] * 3, 100.0)
    mlflow = _subject("mlflow", [100.0] * 3, 500.0)
    ours.samples["invocations-row/64"] = _samples([3000.0] * 3)
    mlflow.samples["invocations-row/64"] = _samples([100.0] * 3)

    text = mixed_report.text(
        Run("2026-01-01", "one machine.", 3, 2.0, [100], [ModelRun("penguins", [ours, numbers, mlflow])])
    )

    assert "| times this project's own rate for the numbers alone | at least 0.6 | 0.62 (0.62 to 0.62) | met |" in text
    assert "| times MLFLOW at /invocations | at least 40 | 30.00 (30.00 to 30.00) | **missed** |" in text


def test_charts_are_small_and_the_same_for_the_same_figures(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "FOLDER", tmp_path)

    first = charts.draw(run.models[0], 100).read_bytes()
    second = charts.draw(run.models[0], 100).read_bytes()

    assert first == second
    assert len(first) < 40_000
    assert b"MLSERVER" in first
    assert b"KServe" not in first


@pytest.mark.parametrize("section", document.PAGES)
def test_every_section_has_its_place_on_its_page(section: str, tmp_path: Path) -> None:
    copy = tmp_path / "page.md"
    copy.write_text((ROOT / document.PAGES[section]).read_text())
    document.replace_between(copy, section, "new\n")
    assert "new\n" in copy.read_text()


def test_the_pictures_of_a_run_are_next_to_its_page(run: Run) -> None:
    assert document.PAGES["bench-peers"].parent == charts.FOLDER
    assert f"]({run.models[0].model}.svg)" in report.text(run)


def test_only_the_text_between_the_markers_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "figures.md"
    file.write_text("before\n<!-- a: begin -->\nold\n<!-- a: end -->\nafter\n")

    document.replace_between(file, "a", "new\n")

    assert file.read_text() == "before\n<!-- a: begin -->\nnew\n<!-- a: end -->\nafter\n"
    with pytest.raises(document.MarkerMissingError, match="b: begin"):
        document.replace_between(file, "b", "new\n")

"""Joining the log with truth: rows that agree are joined once, and all others are counted and listed."""

import gzip
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from modelformat.logged import SUFFIX
from tests.support.prediction_logs import DAY, line, write_log
from training.errors import BadInputError
from training.outcomes.files import Days
from training.outcomes.join import Joined, joined
from training.outcomes.refused import write
from training.outcomes.report import Asked, report_of
from training.outcomes.truth import TruthColumns


@pytest.fixture
def log(tmp_path: Path) -> Path:
    lines = [line("one", "setosa"), *(line("three", "virginica", row) for row in range(3)), line("other", "setosa")]
    return write_log(tmp_path / "log", lines)


def truth(tmp_path: Path, table: pd.DataFrame, name: str = "truth.parquet") -> list[str]:
    path = tmp_path / name
    table.to_csv(path, index=False) if name.endswith(".csv") else table.to_parquet(path, index=False)
    return [str(path)]


def rows_of(found: Joined) -> list[tuple[str, int, Any]]:
    return list(found.answers[["request_id", "row", "truth"]].itertuples(index=False, name=None))


def test_rows_are_joined_by_request_and_row(tmp_path: Path, log: Path) -> None:
    table = pd.DataFrame({"request_id": ["one", "three", "three"], "row": [0, 0, 2], "truth": ["a", "b", "c"]})
    found = joined(str(log), truth(tmp_path, table))
    assert rows_of(found) == [("one", 0, "a"), ("three", 0, "b"), ("three", 2, "c")]
    assert not found.refusals.counts
    assert (found.logged, found.truths, found.repeated) == (5, 3, 0)
    first = found.answers.iloc[0]
    assert (first["version"], first["digest"], first["prediction"], first["probability"]) == (
        "7", "sha256:1", "setosa", 0.9,
    )  # fmt: skip
    assert first["time"] == pd.Timestamp(f"{DAY}T12:00", tz="UTC")
    assert found.inputs["length"].tolist() == [1.5] * 3
    assert found.table("species").columns.tolist() == ["length", "species"]
    assert sum(day.rows for day in found.seen.days.values()) == 5


def test_ambiguous_rows_are_refused_with_a_reason(tmp_path: Path, log: Path) -> None:
    write_log(log, [line("rare", "setosa", reason="confidence"), line("again", "setosa"), line("again", "other")], "b")
    write_log(log, [line("third", "setosa", 2, reason="unknown"), line("left", "setosa", 3)], "d")
    write_log(log, [line("retried", "setosa"), line("retried", "setosa")], "c")
    said = [
        ("nobody", 0, "a", "unknown"), ("three", 7, "a", "unknown_row"), ("three", None, "a", "no_row"),
        ("rare", None, "a", "no_row"), ("again", 0, "a", "asked_again"), ("", 0, "a", "no_id"),
        ("one", -1, "a", "bad_row"), ("one", 0, None, "empty"), ("three", 1, "a", "contradiction"),
        ("three", 1, "b", "contradiction"), ("other", 0, "a", ""), ("other", None, "a", "double"),
        ("retried", None, "a", ""), ("rare", 0, "a", ""), ("third", None, "a", "no_row"), ("left", None, "a", "no_row"),
    ]  # fmt: skip
    table = pd.DataFrame([each[:3] for each in said], columns=["request_id", "row", "truth"])
    found = joined(str(log), truth(tmp_path, table))
    expected = Counter(each[3] for each in said if each[3])
    assert found.refusals.counts == expected
    assert [each.reason for each in found.refusals.listed if each.reason == "contradiction"] == ["contradiction"] * 2
    assert {row[0] for row in rows_of(found)} == {"other", "retried", "rare"}
    assert found.repeated == 1
    assert found.refused == expected.total() - 1
    path = tmp_path / "refused.jsonl"
    write(found.refusals.listed, path)
    lines = [msgspec.json.decode(each) for each in path.read_bytes().splitlines()]
    assert len(lines) == expected.total()
    [doubted] = [each for each in lines if each["reason"] == "asked_again"]
    assert doubted["source"].endswith("truth.parquet row 5")
    assert doubted["request_id"] == "again"


@pytest.mark.parametrize(
    ("answer", "value", "expected"),
    [
        ("setosa", "other", "other"), ("1", 1, None), ("setosa", True, None), (True, False, False), (True, 1, None),
        (True, "True", None), (2, 3, 3), (2, 3.0, 3), (2, 3.5, None), (2, "3", None), (2, True, None), (1.5, 2, 2.0),
        (1.5, 2.25, 2.25), (1.5, "2.25", None), (1.5, float("inf"), None),
    ],
)  # fmt: skip
def test_truth_has_the_type_of_the_answer(tmp_path: Path, answer: Any, value: Any, expected: Any) -> None:
    log = write_log(tmp_path / "log", [line("one", answer, probability=None)])
    found = joined(str(log), truth(tmp_path, pd.DataFrame({"request_id": ["one"], "truth": [value]})))
    assert found.answers["truth"].tolist() == ([] if expected is None else [expected])
    assert found.refusals.counts == ({"type": 1} if expected is None else {})
    if expected is not None:
        assert type(found.answers["truth"].tolist()[0]) is type(expected)


@pytest.mark.parametrize(
    ("answer", "text", "expected"),
    [
        ("1", "1", "1"), (True, "true", True), (True, "1", None), (2, "3", 3), (2, "3.0", 3), (2, "3.5", None),
        (2, "three", None), (1.5, "2", 2.0), (1.5, "nan", None),
    ],
)  # fmt: skip
def test_a_csv_has_no_types_so_its_texts_are_read_as_the_answer_is(
    tmp_path: Path, answer: Any, text: str, expected: Any
) -> None:
    log = write_log(tmp_path / "log", [line("007", answer, probability=None), line("x", answer, probability=None)])
    table = pd.DataFrame({"request_id": ["007", "x"], "truth": [text, "word"]})
    found = joined(str(log), truth(tmp_path, table, "truth.csv"))
    of_one = found.answers[found.answers["request_id"] == "007"]["truth"].tolist()
    assert of_one == ([] if expected is None else [expected])


def test_json_lines_keep_the_type_of_each_line(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", [line(name, 1, probability=None) for name in "abc"])
    path = tmp_path / "truth.jsonl"
    path.write_text('{"request_id": "a", "truth": 1}\n\n{"request_id": "b", "truth": "1"}\n{"request_id": "c"}\n')
    found = joined(str(log), [str(path)])
    assert rows_of(found) == [("a", 0, 1)]
    assert found.refusals.counts == {"type": 1, "empty": 1}


def test_several_tables_are_combined_and_columns_may_have_other_names(tmp_path: Path, log: Path) -> None:
    first = truth(tmp_path, pd.DataFrame({"order": ["one"], "outcome": ["a"]}), "1.parquet")
    second = truth(tmp_path, pd.DataFrame({"order": ["one"], "outcome": ["b"]}), "2.csv")
    found = joined(str(log), first + second, columns=TruthColumns("order", "line", "outcome"))
    assert found.refusals.counts == {"contradiction": 2}


def test_only_some_days_are_read(tmp_path: Path) -> None:
    times = ["2026-11-19T23:59:59Z", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"]
    log = write_log(tmp_path / "log", [line(time[:10], "a", time=time) for time in times])
    table = truth(tmp_path, pd.DataFrame({"request_id": [time[:10] for time in times], "truth": ["a"] * 3}))
    found = joined(str(log), table, days=Days.until(date(2026, 11, 20), 1))
    assert [row[0] for row in rows_of(found)] == ["2026-11-20"]
    assert found.refusals.counts == {"unknown": 2}


def test_a_broken_file_and_a_broken_line_are_reported_and_the_rest_is_read(tmp_path: Path, log: Path) -> None:
    folder = log / f"date={DAY}" / "hour=13"
    folder.mkdir()
    whole = msgspec.json.Encoder().encode_lines([line(f"late-{at}", "setosa") for at in range(2000)])
    (folder / f"cut{SUFFIX}").write_bytes(gzip.compress(whole)[:-2000])
    (folder / f"no{SUFFIX}").write_bytes(b"no gzip")
    (folder / f"text{SUFFIX}").write_bytes(gzip.compress(b'{"time": 1}\n\xff\n[]\n'))
    (folder / "notes.txt").write_text("no log")
    table = pd.DataFrame({"request_id": ["one", "late-0"], "truth": ["a", "b"]})
    found = joined(str(log), truth(tmp_path, table))
    assert {row[0] for row in rows_of(found)} == {"one", "late-0"}
    assert found.refusals.counts == {"file": 2, "line": 3}
    assert all(each.source and each.detail for each in found.refusals.listed)


@pytest.mark.parametrize(
    ("log", "table", "sentence"),
    [
        ("nowhere", None, "--log: nowhere is neither a folder nor s3://"),
        (".", None, "has no files of a prediction log"),
        ("s3://bucket", None, "is not of the form s3://BUCKET/ENVIRONMENT/SERVICE"),
        (".", {"id": ["one"], "truth": ["a"]}, "has no column 'request_id'"),
    ],
)
def test_a_missing_log_or_truth_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str, table: dict[str, list[str]] | None, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = truth(tmp_path, pd.DataFrame(table or {"request_id": ["one"], "truth": ["a"]}))
    with pytest.raises(BadInputError, match=sentence):
        joined(log, given)


@pytest.mark.parametrize("time", ["yesterday", "2026-13-45T12:00:00Z", "9999-01-01T00:00:00Z", ""])
def test_a_line_without_a_valid_time_is_refused_and_the_rest_is_read(tmp_path: Path, log: Path, time: str) -> None:
    path = log / f"date={DAY}" / "hour=12" / f"odd{SUFFIX}"
    path.write_bytes(gzip.compress(msgspec.json.encode(line("odd", "setosa", time=time)) + b"\n"))
    table = pd.DataFrame({"request_id": ["one", "odd"], "truth": ["setosa", "setosa"]})
    found = joined(str(log), truth(tmp_path, table))
    assert rows_of(found) == [("one", 0, "setosa")]
    assert found.refusals.counts == {"line": 1, "unknown": 1}
    [refused] = [each for each in found.refusals.listed if each.reason == "line"]
    assert (refused.source, refused.detail) == (
        f"date={DAY}/hour=12/odd{SUFFIX} line 1", f"{time!r} is not a time such as 2026-11-29T12:00:00Z",
    )  # fmt: skip
    assert report_of(Asked("iris", "staging", "log", ()), found, {}).joined == 1

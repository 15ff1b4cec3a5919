"""What the prediction log stores of rows and answers, and how much of it may wait."""

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from services.serving.tests import mixed
from services.serving.tests.bundles import CLASSES, SETOSA, write_bundle
from services.serving.tests.mixed import write_mixed
from serving.asked import Asked
from serving.environment import SettingsError, read
from serving.features import RowReader
from serving.loader import LoadedModel
from serving.log.entries import Entry, Truths, Waiting, Why
from serving.log.files import File, Files
from serving.log.lines import Choice, Lines, of_truths
from serving.log.tally import LogTally
from serving.log.writer import Writer
from serving.opening import open_folder
from serving.runtimes.base import RuntimeOptions
from serving.schemas import TruthOfRow
from serving.settings import Settings

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z


def opened(folder: Path) -> LoadedModel:
    found = open_folder(folder, RuntimeOptions())
    return LoadedModel(
        "penguins", "7", "sha256-v2:x", "v1.2.0", found.spec, found.runtime, found.reader, found.example, found.pace
    )


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("iris")
    write_bundle(folder)
    return opened(folder)


@pytest.fixture(scope="module")
def penguins(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Return a model of a table with every kind of column, one of which is sensitive."""
    columns = [dict(column) for column in mixed.COLUMNS]
    columns[2] |= {"sensitive": True}
    folder = tmp_path_factory.mktemp("penguins")
    write_mixed(folder, columns=columns)
    return opened(folder)


def entry(
    model: LoadedModel,
    rows: Sequence[Any],
    why: Why = "sample",
    *,
    result: Any = None,
    time: float = NOON,
    places: Sequence[int] = (),
) -> Entry:
    matrix = model.reader.many(rows)
    found = model.runtime.run(matrix) if result is None else np.array(result, dtype=np.float32)
    count = len(matrix)
    asked = [Asked(b"id-1", "team-a")] * count
    return Entry(model, matrix, found, asked, places or range(count), [time] * count, why, matrix.nbytes)


def lines(model: LoadedModel, choice: Choice, *entries: Entry) -> list[dict[str, Any]]:
    return [json.loads(line) for hour in Lines(model, choice).of(entries) for line in hour.text.splitlines()]


def test_a_line_has_the_request_and_the_answer(iris: LoadedModel) -> None:
    [line] = lines(iris, Choice(), entry(iris, [SETOSA]))
    probability = line.pop("probability")
    assert line == {
        "time": "2026-01-01T12:00:00.000000Z",
        "request_id": "id-1",
        "row": 0,
        "model": "penguins",
        "version": "7",
        "release": "v1.2.0",
        "digest": "sha256-v2:x",
        "caller": "team-a",
        "reason": "sample",
        "prediction": "setosa",
        "features": dict(zip([column.name for column in iris.spec.columns], SETOSA, strict=True)),
    }
    assert probability == pytest.approx(0.98, abs=0.03)


def test_numbers_have_the_fewest_digits_that_identify_them(iris: LoadedModel) -> None:
    chance = np.random.default_rng(3)
    given = np.concatenate([chance.normal(0, 1e4, (300, 4)), chance.random((40, 4)) * 1e-7, np.full((1, 4), 5.1)])
    given = given.astype(np.float32)
    found = lines(iris, Choice(), entry(iris, given.astype(float).tolist()))
    back = np.array([list(line["features"].values()) for line in found], dtype=np.float32)
    assert (back == given).all()
    assert list(found[-1]["features"].values()) == [5.1] * 4


def test_every_kind_is_written_as_callers_write_it_but_no_sensitive_column(penguins: LoadedModel) -> None:
    gaps = ["Dream", None, None, 3, None, mixed.SEEN]
    found = lines(penguins, Choice(), entry(penguins, [mixed.ROW, gaps]))
    whole = {name: value for name, value in mixed.ROW.items() if name != "sex"}
    assert [line["features"] for line in found] == [
        whole,
        {"island": "Dream", "bill (mm)": None, "eggs": 3, "ringed": None, "seen": mixed.ROW["seen"]},
    ]
    assert [line["row"] for line in found] == [0, 1]


def test_only_named_columns_are_stored_and_sensitive_ones_never(
    penguins: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    choice = Choice(("eggs", "sex", "wings"))
    found = lines(penguins, choice, entry(penguins, [mixed.ROW]))
    assert [line["features"] for line in found] == [{"eggs": 2}]
    told = {record.getMessage(): getattr(record, "columns", "") for record in caplog.records}
    assert told == {
        "sensitive columns are not logged, although the settings name them": "'sex'",
        "the model lacks columns that should be logged": "'wings'",
    }


def test_rows_are_selected_by_their_values(penguins: LoadedModel) -> None:
    known, strange = dict(mixed.ROW), {**mixed.ROW, "island": "Anvers"}
    sure, unsure = [0.9, 0.1], [0.55, 0.45]
    perhaps = entry(penguins, [known, known, strange, strange], "perhaps", result=[sure, unsure, sure, unsure])
    found = lines(penguins, Choice(below=0.6, unknown=True), perhaps)
    assert [(line["row"], line["reason"]) for line in found] == [(1, "confidence"), (2, "unknown"), (3, "unknown")]
    assert [line["row"] for line in lines(penguins, Choice(below=0.6), perhaps)] == [1, 3]
    assert [line["row"] for line in lines(penguins, Choice(unknown=True), perhaps)] == [2, 3]
    assert lines(penguins, Choice(), perhaps) == []
    # A row that the shadow answers differently is logged once: not if it was selected already.
    differed = entry(penguins, [known, strange], "shadow", result=[sure, sure], places=[4, 9])
    found = lines(penguins, Choice(below=0.6, unknown=True), differed)
    assert [(line["row"], line["reason"]) for line in found] == [(4, "shadow")]


def test_rows_without_a_finite_answer_were_refused_and_are_not_logged(iris: LoadedModel) -> None:
    nothing = [[np.nan] * 3, [0.2, 0.2, 0.6]]
    found = lines(iris, Choice(), entry(iris, [SETOSA, SETOSA], result=nothing))
    assert [(line["row"], line["prediction"]) for line in found] == [(1, CLASSES[2])]


def finished(files: list[File]) -> list[tuple[str, int, list[Any]]]:
    return [
        (
            file.path.rpartition("/")[0],
            file.rows,
            [json.loads(line) for line in gzip.decompress(file.body).splitlines()],
        )
        for file in files
    ]


def test_files_have_lines_of_one_hour_and_are_complete(iris: LoadedModel) -> None:
    made: list[File] = []
    files = Files(60, made.append)
    both = [entry(iris, [SETOSA], time=NOON - 0.5), entry(iris, [SETOSA] * 3)]
    for hour in Lines(iris, Choice()).of(both):
        files.add(hour)
    files.end()
    found = finished(made)
    assert [(folder, rows, len(read_back)) for folder, rows, read_back in found] == [
        ("date=2026-01-01/hour=11", 1, 1),
        ("date=2026-01-01/hour=12", 3, 3),
    ]
    assert len({file.path for file in made}) == 2
    assert all(file.path.endswith(".jsonl.gz") for file in made)
    files.end()
    assert len(made) == 2


def test_a_file_ends_when_it_is_old_or_large(iris: LoadedModel) -> None:
    made: list[File] = []
    files = Files(0.05, made.append)
    [hour] = Lines(iris, Choice()).of([entry(iris, [SETOSA])])
    files.add(hour)
    files.end_if_due()
    assert made == []
    threading.Event().wait(files.wait() + 0.01)
    files.end_if_due()
    assert len(made) == 1
    patient = Files(3600, made.append)
    rows = np.random.default_rng(1).random((20_000, 4)).tolist()
    for _ in range(2):
        for hour in Lines(iris, Choice()).of([entry(iris, rows)]):
            patient.add(hour)
    assert len(made) > 1
    assert all(len(file.body) < 4 << 20 for file in made)


def test_the_queue_is_bounded_by_rows_and_by_bytes(iris: LoadedModel) -> None:
    row = entry(iris, [SETOSA])
    by_rows = Waiting(3, 10**9)
    assert by_rows.put([row] * 5) == 2
    by_bytes = Waiting(10**9, 2 * row.bytes)
    assert by_bytes.put([row] * 5) == 3
    assert len(by_bytes.take(10, 0) or []) == 2
    assert by_bytes.put([row] * 2) == 0
    by_bytes.close()
    assert by_bytes.put([row]) == 1
    assert len(by_bytes.take(10, 0) or []) == 2
    assert by_bytes.take(10, 0) is None


def test_long_requests_are_taken_in_parts_and_models_separately(iris: LoadedModel, penguins: LoadedModel) -> None:
    waiting = Waiting(1000, 10**9)
    waiting.put([entry(iris, [SETOSA] * 5), entry(iris, [SETOSA]), entry(penguins, [mixed.ROW])])
    taken = [waiting.take(4, 0) or [] for _ in range(3)]
    assert [[list(each.places) for each in group] for group in taken] == [[[0, 1, 2, 3]], [[4], [0]], [[0]]]
    assert waiting.take(4, 0) == []
    # All of the room is free again.
    assert waiting.put([entry(iris, [SETOSA] * 1000)]) == 0


def test_sensitive_has_to_be_a_boolean(tmp_path: Path) -> None:
    columns = [dict(column) for column in mixed.COLUMNS]
    columns[0] |= {"sensitive": True}
    write_mixed(tmp_path, columns=columns)
    assert [column.sensitive for column in opened(tmp_path).spec.columns] == [True, *[False] * 5]
    text = (tmp_path / "MLmodel").read_text().replace("sensitive: true", "sensitive: 'yes'")
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(Exception, match=r"columns\[0\].sensitive"):
        opened(tmp_path)


def test_unknown_texts_are_found_by_row(penguins: LoadedModel) -> None:
    reader: RowReader = penguins.reader
    rows = reader.many([mixed.ROW, {**mixed.ROW, "island": "Anvers"}, {**mixed.ROW, "sex": None}])
    assert reader.unknown_in(rows).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"PREDICTION_LOG": "/var/log"}, "PREDICTION_LOG is '/var/log', but takes text that matches"),
        ({"PREDICTION_LOG_COLUMNS": "age, city"}, "PREDICTION_LOG_COLUMNS takes a JSON list of names"),
        ({"PREDICTION_LOG_COLUMNS": "[1]"}, "PREDICTION_LOG_COLUMNS takes a JSON list of names"),
        ({"PREDICTION_LOG_ACCESS_KEY_ID": "x"}, "are one key: set both, or none"),
        ({"PREDICTION_LOG_SAMPLE": "2"}, "PREDICTION_LOG_SAMPLE is '2', but takes a number from 0"),
    ],
)
def test_invalid_settings_are_named(given: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(Settings, given)
    assert message in str(caught.value)


def test_the_code_for_signatures_is_imported_before_requests_come() -> None:
    """On the event loop the import would delay all requests when the first file is sent."""
    script = (
        "import sys; from serving.log.store import LogStore; LogStore('s3://b/x', 'http://s3', 'r', None); "
        "print(*(name for name in ('auth', 'awsrequest', 'credentials') if f'botocore.{name}' not in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""


def truths(*ids: str, time: float = NOON) -> Truths:
    return Truths([TruthOfRow(name, "setosa") for name in ids], "team-a", time, 100 * len(ids))


def test_truths_are_written_by_the_hour_in_which_they_came() -> None:
    first, second = of_truths([truths("a", "b"), truths("c", time=NOON + 3600)])
    assert (first.began, first.rows, second.rows) == (int(NOON), 2, 1)
    assert json.loads(first.text.splitlines()[0]) == {
        "time": "2026-01-01T12:00:00.000000Z", "request_id": "a", "row": None, "caller": "team-a", "truth": "setosa",
        "reason": "feedback",
    }  # fmt: skip


def test_truths_wait_in_the_same_queue_and_are_not_mixed_with_rows(iris: LoadedModel) -> None:
    waiting = Waiting(10, 10**9)
    assert waiting.put([truths("a", "b", "c"), entry(iris, [SETOSA]), truths("d")]) == 0
    taken = [waiting.take(2, 0) for _ in range(4)]
    assert [[len(each.places) for each in group or []] for group in taken] == [[2], [1], [1], [1]]
    assert [isinstance(group[0], Truths) for group in taken if group] == [True, True, False, True]
    assert waiting.put([truths(*map(str, range(11)))]) == 11


@pytest.mark.parametrize(
    ("more", "sentence"),
    [({}, "set PREDICTION_LOG too"), ({"PREDICTION_LOG": "s3://predictions/a/b"}, "set API_KEYS or API_KEYS_FILE")],
)
def test_feedback_needs_a_log_and_keys(more: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        read(Settings, {"PREDICTION_LOG_FEEDBACK": "true", **more})


def test_moments_outside_the_years_of_utc_are_written_as_seconds(penguins: LoadedModel) -> None:
    rows = [{**mixed.ROW, "seen": seen} for seen in ("0001-01-01T00:00:00+23:00", "9999-12-31T23:00:00-23:00")]
    found = lines(penguins, Choice(), entry(penguins, rows))
    assert [line["features"]["seen"] for line in found] == [-62_135_679_600.0, 253_402_380_000.0]


def test_only_the_row_that_cannot_be_written_is_lost(iris: LoadedModel, caplog: pytest.LogCaptureFixture) -> None:
    made: list[File] = []
    files, told = Files(60, made.append), Files(60, made.append)
    waiting, tally = Waiting(1000, 10**9), LogTally()
    # An invalid time, which no caller can cause.
    bad = msgspec.structs.replace(entry(iris, [SETOSA] * 2), times=[NOON, float("nan")])
    waiting.put([entry(iris, [SETOSA] * 3), bad, entry(iris, [SETOSA] * 5), truths("a", "b")])
    writer = Writer(waiting, files, told, Choice(), tally)
    writer.start()
    writer.stop(30)
    assert sorted(rows for _, rows, _ in finished(made)) == [2, 9]
    [family] = [each for each in tally.collect() if each.name.endswith("rows_dropped")]
    assert {sample.labels["reason"]: sample.value for sample in family.samples}["failed"] == 1
    assert [record.getMessage() for record in caplog.records] == ["rows cannot be written into the prediction log"]

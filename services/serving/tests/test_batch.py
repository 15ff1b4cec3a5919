"""Files scored by a pinned model: the answers are the API's, each file is scored once, and never by half."""

import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from modelformat.digest import content_digest
from services.serving.tests import mixed
from services.serving.tests.bundles import COLUMNS, write_bundle
from services.serving.tests.conftest import Bundle, Serve, running, until_ready
from services.serving.tests.penguins import csv_of, penguin_rows, penguins_table
from serving.batch.job import Job, Plan, Summary
from serving.batch.manifest import Manifest
from serving.batch.pinned import open_model
from serving.batch.places import FolderPlace, pattern
from serving.batch.scorer import ANSWERS, Scored, Scorer
from serving.environment import read
from serving.errors import ServingError
from serving.settings import Settings

ROWS = 2500


def scorer_of(bundle: Bundle, **more: str) -> Scorer:
    return Scorer(open_model(read(Settings, bundle.pin(**more))))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("penguins")
    return Bundle(folder, mixed.write_mixed(folder))


@pytest.fixture(scope="module")
def scorer(bundle: Bundle) -> Scorer:
    return scorer_of(bundle, MODEL_RELEASE="v1.2.0")


@pytest.fixture(scope="module")
def api(bundle: Bundle) -> Iterator[httpx.Client]:
    with running(bundle.pin(MODEL_RELEASE="v1.2.0")) as client:
        until_ready(client)
        yield client


Run = Callable[..., Summary]


@pytest.fixture
def run(scorer: Scorer, tmp_path: Path) -> Run:
    """Return a function that scores the files in `in` into `out`."""

    def job(wanted: str = "", by: Scorer = scorer, **plan: Any) -> Summary:
        meant = pattern(wanted or f"{tmp_path}/in/*", folder=False)
        return Job(by, FolderPlace(Path(meant.root)), FolderPlace(tmp_path / "out"), Plan(**plan)).run(meant)

    (tmp_path / "in").mkdir()
    return job


def in_json(api: httpx.Client, rows: list[Any]) -> list[dict[str, Any]]:
    """Return the API's answers, in requests with as many rows as the scorer computes at a time."""
    found: list[dict[str, Any]] = []
    for part in np.array_split(np.arange(len(rows)), -(-len(rows) // 1000)):
        answer = api.post("/predict", json={"instances": [rows[row] for row in part]})
        assert answer.status_code == 200, answer.text
        found += answer.json()["predictions"]
    return found


def answers_of(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path).select(["prediction", "probability"]).to_pylist()
    return found


def manifest(tmp_path: Path, name: str) -> Manifest:
    return msgspec.json.decode((tmp_path / "out" / f"{name}.manifest.json").read_bytes(), type=Manifest)


def rejected(tmp_path: Path, name: str) -> dict[int, tuple[str, Any]]:
    lines = (tmp_path / "out" / f"{name}.rejected.jsonl").read_text().splitlines()
    return {line["row"]: (line["reason"], line["values"]) for line in map(json.loads, lines)}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_parquet_and_csv_are_answered_as_the_api_answers(run: Run, tmp_path: Path, api: httpx.Client) -> None:
    table = penguins_table(ROWS)
    pq.write_table(table, tmp_path / "in" / "one.parquet")
    (tmp_path / "in" / "two.csv").write_bytes(csv_of(table))
    (tmp_path / "in" / "three.csv.gz").write_bytes(gzip.compress(csv_of(table)))
    summary = run()
    assert (summary.scored, summary.rows, summary.rejected, summary.failed) == (3, 3 * ROWS, 0, 0)
    expected = in_json(api, penguin_rows(table))
    assert len({each["prediction"] for each in expected}) == 2
    for name in ("one", "two", "three"):
        assert answers_of(tmp_path / "out" / f"{name}.parquet") == expected


def test_what_is_written_with_the_answers(run: Run, tmp_path: Path, scorer: Scorer) -> None:
    table = penguins_table(50)
    pq.write_table(table, tmp_path / "in" / "one.parquet")
    run()
    found = pq.read_table(tmp_path / "out" / "one.parquet")
    assert found.column_names == [*table.column_names, *ANSWERS]
    assert found.select(table.column_names).equals(table)
    [versions] = {tuple(row.values()) for row in found.select(ANSWERS[2:]).to_pylist()}
    assert versions == (scorer.model.name, "v1.2.0", scorer.model.digest)
    told = manifest(tmp_path, "one")
    assert told.input.rows == told.output.rows == 50
    assert told.model.digest == scorer.model.digest
    assert told.rejected is None
    assert names_in(tmp_path / "out") == ["one.manifest.json", "one.parquet"]


@pytest.mark.slow
def test_numbers_alone_and_regression(serve: Serve, run: Run, tmp_path: Path, iris: Bundle, diabetes: Bundle) -> None:
    chance = np.random.default_rng(3)
    for bundle, names in ((iris, COLUMNS), (diabetes, [f"column {index}" for index in range(10)])):
        rows = chance.normal(2, 1, (ROWS, len(names))).round(2)
        pq.write_table(pa.table(dict(zip(names, rows.T, strict=True))), tmp_path / "in" / "one.parquet")
        run(by=scorer_of(bundle))
        api = serve(bundle.pin())
        until_ready(api)
        assert answers_of(tmp_path / "out" / "one.parquet") == in_json(api, rows.tolist())


def test_answers_as_csv_with_some_columns(run: Run, tmp_path: Path) -> None:
    pq.write_table(penguins_table(20), tmp_path / "in" / "one.parquet")
    run(form="csv", kept=("id",))
    found = pa.csv.read_csv(tmp_path / "out" / "one.csv")
    assert found.column_names == ["id", *ANSWERS]
    assert found["id"].to_pylist() == list(range(20))


def test_rows_that_do_not_fit_are_written_elsewhere_with_reasons(run: Run, tmp_path: Path, api: httpx.Client) -> None:
    table = penguins_table(100)
    rows = table.to_pylist()
    wrong = {3: ("island", None), 50: ("eggs", 2**40), 99: ("bill (mm)", float("inf"))}
    for row, (name, value) in wrong.items():
        rows[row][name] = value
    bad = pa.Table.from_pylist(rows, schema=table.schema)
    pq.write_table(bad, tmp_path / "in" / "one.parquet")
    summary = run()
    assert (summary.rows, summary.rejected) == (100, 3)
    aside = rejected(tmp_path, "one")
    assert list(aside) == [4, 51, 100]
    assert aside[4][0] == "column 'island': expected a string, got an empty one, which means null"
    assert "column 'eggs': expected a whole number between" in aside[51][0]
    assert aside[51][1]["id"] == 50
    assert "column 'bill (mm)': expected a number between" in aside[100][0]
    good = [row for index, row in enumerate(penguin_rows(bad)) if index not in wrong]
    assert answers_of(tmp_path / "out" / "one.parquet") == in_json(api, good)
    assert manifest(tmp_path, "one").rejected.rows == 3  # type: ignore[union-attr]


def with_value(line: str, at: int, text: str) -> str:
    return ",".join(text if place == at else value for place, value in enumerate(line.split(",")))


def test_lines_of_csv_that_do_not_fit(run: Run, tmp_path: Path) -> None:
    lines = csv_of(penguins_table(60)).decode().splitlines()
    header, rows = lines[0], lines[1:]
    rows[1] += ",more"
    for row, at, text in ((4, 4, "two"), (9, 5, "maybe"), (20, 6, "yesterday")):
        rows[row] = with_value(rows[row], at, text)
    (tmp_path / "in" / "one.csv").write_text("\n".join([header, *rows[:1], "", *rows[1:]]) + "\n\n")
    summary = run()
    assert (summary.rows, summary.rejected) == (60, 4)
    aside = rejected(tmp_path, "one")
    assert aside[2] == ("expected 7 values, got 8", rows[1])
    assert aside[5][0] == "column 'eggs': expected an integer, got 'two'"
    assert aside[10][0] == "column 'ringed': expected true or false, got 'maybe'"
    assert "column 'seen': expected a date as ISO 8601" in aside[21][0]
    assert aside[21][1]["id"] == "20"
    kept = pq.read_table(tmp_path / "out" / "one.parquet")["id"].to_pylist()
    assert kept == [str(number) for number in range(60) if number + 1 not in aside]


@pytest.mark.slow
def test_row_numbers_are_right_over_many_blocks(run: Run, tmp_path: Path) -> None:
    lines = csv_of(penguins_table(160_000)).decode().splitlines()
    places = [5, 60_000, 110_000, 159_999]
    for place in places:
        lines[place] += ",more"
    lines[130_000] = with_value(lines[130_000], 4, "x")
    (tmp_path / "in" / "one.csv").write_text("\n".join(lines))
    run(kept=("id",))
    aside = rejected(tmp_path, "one")
    assert sorted(aside) == sorted([*places, 130_000])
    assert aside[130_000][1]["id"] == str(130_000 - 1)


def test_a_missing_column_and_a_wrong_type_fail_only_their_file(run: Run, tmp_path: Path) -> None:
    table = penguins_table(10)
    pq.write_table(table, tmp_path / "in" / "good.parquet")
    pq.write_table(table.drop_columns(["eggs"]), tmp_path / "in" / "missing.parquet")
    text = table.set_column(5 - 1, "eggs", table["eggs"].cast(pa.string()))
    pq.write_table(text, tmp_path / "in" / "text.parquet")
    (tmp_path / "in" / "broken.parquet").write_bytes(b"PAR1 and nothing")
    (tmp_path / "in" / "empty.csv").write_bytes(b"")
    pq.write_table(table.append_column("prediction", table["id"]), tmp_path / "in" / "clash.parquet")
    summary = run()
    assert (summary.scored, summary.failed) == (1, 5)
    told = "\n".join(summary.failures)
    assert "columns['eggs']: the column is missing" in told
    assert "column 'eggs': holds text, expected an integer" in told
    assert "broken.parquet: it cannot be read as Parquet" in told
    assert "empty.csv: it is not a CSV file" in told
    assert "column 'prediction': has the name of an answer" in told
    assert names_in(tmp_path / "out") == ["good.manifest.json", "good.parquet"]


@pytest.fixture(scope="module")
def optional_scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """Return a scorer of a model in which every column is optional, as training on a table with gaps makes it."""
    folder = tmp_path_factory.mktemp("optional")
    columns = [column | {"optional": True} for column in mixed.COLUMNS]
    return scorer_of(Bundle(folder, mixed.write_mixed(folder, columns=columns, signed=columns)))


def test_a_file_with_none_of_the_columns_is_not_answered_as_if_all_were_null(
    run: Run, tmp_path: Path, optional_scorer: Scorer
) -> None:
    table = penguins_table(10)
    upper = table.rename_columns([name.upper() for name in table.column_names])
    pq.write_table(upper, tmp_path / "in" / "upper.parquet")
    pyarrow.csv.write_csv(upper, tmp_path / "in" / "comma.csv")
    summary = run(by=optional_scorer)
    assert (summary.scored, summary.failed) == (0, 2)
    for told in summary.failures:
        assert "it has none of the model's columns 'island'" in told
        assert "its columns are 'ID'" in told


@pytest.mark.parametrize("decimal", [".", ","])
def test_a_file_with_another_separator_says_so(
    run: Run, tmp_path: Path, optional_scorer: Scorer, scorer: Scorer, decimal: str
) -> None:
    text = f"island;bill (mm);eggs;seen\nDream;39{decimal}1;2;2024-01-31\n"
    (tmp_path / "in" / "semicolons.csv").write_text(text)
    for by in (optional_scorer, scorer):
        [told] = run(by=by).failures
        assert "its header is the single name 'island;bill (mm);eggs;seen'; set SCORE_CSV_SEPARATOR" in told
    assert not (tmp_path / "out").exists() or not names_in(tmp_path / "out")


def test_a_missing_optional_column_is_logged(
    run: Run, tmp_path: Path, optional_scorer: Scorer, caplog: pytest.LogCaptureFixture
) -> None:
    table = penguins_table(10).rename_columns({"sex": "Sex"})
    pq.write_table(table, tmp_path / "in" / "one.parquet")
    assert run(by=optional_scorer).scored == 1
    [warned] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert vars(warned)["missing"] == "'sex'"
    assert "'Sex'" in vars(warned)["columns"]


def test_too_many_bad_rows_fail_the_file(run: Run, tmp_path: Path) -> None:
    table = penguins_table(10)
    eggs = pa.array([None] * 2 + [1] * 8, pa.int64())
    pq.write_table(table.set_column(4, "eggs", eggs), tmp_path / "in" / "one.parquet")
    summary = run()
    assert summary.failed == 1
    assert "2 of 10 rows are rejected" in summary.failures[0]
    assert "row 1: column 'eggs'" in summary.failures[0]
    assert names_in(tmp_path / "out") == []
    assert run(max_rejected=0.2).scored == 1


def test_a_file_is_scored_once_for_a_model_and_its_content(
    run: Run, tmp_path: Path, scorer: Scorer, bundle: Bundle
) -> None:
    source = tmp_path / "in" / "one.parquet"
    pq.write_table(penguins_table(10), source)
    assert run().scored == 1
    first = (tmp_path / "out" / "one.manifest.json").read_bytes()
    assert run().skipped == 1
    assert (tmp_path / "out" / "one.manifest.json").read_bytes() == first
    assert run(again=True).scored == 1

    pq.write_table(penguins_table(10, seed=9), source)
    assert run().scored == 1
    (tmp_path / "out" / "one.parquet").unlink()
    assert run().scored == 1
    assert run(kept=()).scored == 1

    folder = tmp_path / "other"
    shutil.copytree(bundle.folder, folder)
    (folder / "input_example.json").unlink()
    other = Bundle(folder, content_digest(folder))
    assert other.digest != bundle.digest
    assert run(kept=(), by=scorer_of(other, MODEL_RELEASE="v1.2.0")).scored == 1
    assert manifest(tmp_path, "one").model.digest == other.digest


def test_if_all_rows_fit_now_the_earlier_file_of_rejected_rows_is_removed(run: Run, tmp_path: Path) -> None:
    table = penguins_table(20)
    eggs = pa.array([None] + [1] * 19, pa.int64())
    pq.write_table(table.set_column(4, "eggs", eggs), tmp_path / "in" / "one.parquet")
    run()
    assert "one.rejected.jsonl" in names_in(tmp_path / "out")
    pq.write_table(table, tmp_path / "in" / "one.parquet")
    run()
    assert names_in(tmp_path / "out") == ["one.manifest.json", "one.parquet"]


def test_csv_with_quotes_lines_in_values_and_another_separator(run: Run, tmp_path: Path, api: httpx.Client) -> None:
    table = penguins_table(30)
    header, *rows = csv_of(table).decode().splitlines()
    quoted = [";".join(f'"{value}"' for value in row.split(",")) for row in rows]
    note = '"two\nlines; and ""quotes"""'
    text = "\n".join([header.replace(",", ";") + ";note", *(f"{row};{note}" for row in quoted)])
    (tmp_path / "in" / "one.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    run(separator=";")
    assert answers_of(tmp_path / "out" / "one.parquet") == in_json(api, penguin_rows(table))
    assert set(pq.read_table(tmp_path / "out" / "one.parquet")["note"].to_pylist()) == {'two\nlines; and "quotes"'}


@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_that_changes_while_it_is_read_is_not_answered(
    run: Run, tmp_path: Path, scorer: Scorer, same_size: bool
) -> None:
    source = tmp_path / "in" / "one.csv"
    source.write_bytes(csv_of(penguins_table(50)))

    class Meanwhile(Scorer):
        def score(self, batch: pa.RecordBatch) -> Scored:
            with source.open("r+b") as file:
                file.seek(200 if same_size else source.stat().st_size)
                file.write(b"7")
            return super().score(batch)

    summary = run(by=Meanwhile(scorer.model))
    assert summary.failed == 1
    assert "changed while it was read" in summary.failures[0]
    assert names_in(tmp_path / "out") == []


def test_answers_that_would_overwrite_or_become_input_are_refused(run: Run, tmp_path: Path, scorer: Scorer) -> None:
    pq.write_table(penguins_table(5), tmp_path / "in" / "one.parquet")
    (tmp_path / "in" / "one.csv").write_bytes(csv_of(penguins_table(5)))
    with pytest.raises(ServingError, match=r"both be answered in one\.parquet"):
        run()
    with pytest.raises(ServingError, match="read as input the next time"):
        run(f"{tmp_path}/**/*.parquet")
    with pytest.raises(ServingError, match="no file matches"):
        run(f"{tmp_path}/in/*.pq")


def test_shards_share_the_files(run: Run, tmp_path: Path) -> None:
    for number in range(12):
        pq.write_table(penguins_table(5, seed=number), tmp_path / "in" / f"part-{number}.parquet")
    counts = [run(shards=3, shard=shard).scored for shard in range(3)]
    assert sum(counts) == 12
    assert all(counts)
    assert run().skipped == 12


@pytest.mark.parametrize(
    ("address", "name", "meant"),
    [
        ("data/*.csv", "a.csv", True),
        ("data/*.csv", "b/a.csv", False),
        ("data/*.csv", ".a.csv", False),
        ("data/**/*.csv", "a.csv", True),
        ("data/**/*.csv", "x/y/a.csv", True),
        ("data/**/*.csv", "x/.y/a.csv", False),
        ("data/**", "x/a.csv", True),
        ("data/day=*/part-?.parquet", "day=3/part-1.parquet", True),
        ("data/day=*/part-?.parquet", "day=3/part-11.parquet", False),
        ("data/[ab].csv", "b.csv", True),
        ("data/one.csv", "one.csv", True),
    ],
)
def test_patterns(address: str, name: str, meant: bool) -> None:
    found = pattern(address, folder=False)
    assert found.root == "data"
    assert found.takes(name) is meant


def test_a_model_that_is_not_pinned_or_has_another_digest_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="MODEL_VERSION is not set"):
        open_model(read(Settings, {"MODEL_NAME": "penguins"}))
    digest = write_bundle(tmp_path / "other")
    with pytest.raises(ServingError, match="digest"):
        open_model(read(Settings, bundle.pin(MODEL_DIGEST=digest)), seconds=0)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_in_which_no_row_fits_fails_alone(run: Run, tmp_path: Path, suffix: str) -> None:
    bad = penguins_table(10)
    bad = bad.set_column(4, "eggs", pa.array([1.5] * 10, pa.float64()))
    if suffix == "csv":
        pa.csv.write_csv(bad, tmp_path / "in" / "a.csv")
    else:
        pq.write_table(bad, tmp_path / "in" / "a.parquet")
    pq.write_table(penguins_table(10), tmp_path / "in" / "good.parquet")
    summary = run()
    assert (summary.scored, summary.failed) == (1, 1)
    assert "10 of 10 rows are rejected" in summary.failures[0]
    assert run(max_rejected=1).scored == 1
    assert answers_of(tmp_path / "out" / "a.parquet") == []
    assert len(rejected(tmp_path, "a")) == 10

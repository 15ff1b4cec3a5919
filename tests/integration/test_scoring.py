"""`serving score` as a process: on a real store, killed, in two shards, and compared with a real server."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedded.processes import LOOPBACK, Server, free_port
from services.serving.tests import mixed
from services.serving.tests.penguins import csv_of, penguin_rows, penguins_table
from serving.batch.errors import InputChangedError
from serving.batch.places import Identity
from serving.batch.s3 import S3Place, s3_client
from serving.errors import StoreUnavailableError
from tests.integration.serving_fixtures import served
from tests.integration.stores import BUCKET, S3Store

DATA = "tables"


@pytest.fixture(scope="module")
def pins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("penguins")
    digest = mixed.write_mixed(folder)
    return {
        "MODEL_NAME": "penguins", "MODEL_VERSION": "7", "MODEL_RELEASE": "v1.2.0", "MODEL_DIGEST": digest,
        "MODEL_URI": folder.as_uri(),
    }  # fmt: skip


@pytest.fixture(scope="module")
def pins_on_s3(pins: dict[str, str], s3: S3Store) -> dict[str, str]:
    """The same model in a bucket that the data's user cannot write to."""
    client = s3.client(s3.writer)
    for path in Path(pins["MODEL_URI"].removeprefix("file://")).iterdir():
        client.upload_file(str(path), BUCKET, f"penguins/{path.name}")
    client.create_bucket(Bucket=DATA)
    return {
        **pins, "MODEL_URI": f"s3://{BUCKET}/penguins", "S3_ENDPOINT_URL": s3.url,
        "AWS_ACCESS_KEY_ID": s3.reader.access_key, "AWS_SECRET_ACCESS_KEY": s3.reader.secret_key,
        "DATA_AWS_ACCESS_KEY_ID": s3.writer.access_key, "DATA_AWS_SECRET_ACCESS_KEY": s3.writer.secret_key,
    }  # fmt: skip


def start(pins: dict[str, str], *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "serving", "score", *arguments]
    environment = {"PATH": os.environ["PATH"], **pins}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def score(pins: dict[str, str], *arguments: str, status: int = 0) -> tuple[dict[str, Any], str]:
    process = start(pins, *arguments)
    out, said = process.communicate(timeout=170)
    assert process.returncode == status, said
    return json.loads(out) if out else {}, said


def in_json(client: httpx.Client, rows: list[Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for part in np.array_split(np.arange(len(rows)), -(-len(rows) // 1000)):
        answer = client.post("/predict", json={"instances": [rows[row] for row in part]})
        assert answer.status_code == 200, answer.text
        found += answer.json()["predictions"]
    return found


def test_two_shards_over_a_store_answer_as_the_server_does(
    pins_on_s3: dict[str, str], s3: S3Store, tmp_path: Path
) -> None:
    client = s3.client(s3.writer)
    tables = {f"day={day}/part": penguins_table(1500, seed=day) for day in range(6)}
    for name, table in tables.items():
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        client.put_object(Bucket=DATA, Key=f"in/{name}.parquet", Body=sink.getvalue().to_pybytes())
    client.put_object(Bucket=DATA, Key="in/day=9/rest.csv", Body=csv_of(tables["day=1/part"]))
    options = ("--input", f"s3://{DATA}/in/**", "--output", f"s3://{DATA}/out", "--shards", "2")
    both = [start(pins_on_s3, *options, "--shard", str(shard)) for shard in range(2)]
    summaries = []
    for process in both:
        out, said = process.communicate(timeout=170)
        assert process.returncode == 0, said
        summaries.append(json.loads(out))
    assert sum(summary["scored"] for summary in summaries) == 7
    assert all(summary["scored"] for summary in summaries)

    with served(tmp_path, pins_on_s3) as (_, api):
        for name, table in {**tables, "day=9/rest": tables["day=1/part"]}.items():
            body = client.get_object(Bucket=DATA, Key=f"out/{name}.parquet")["Body"].read()
            found = pq.read_table(pa.BufferReader(body)).select(["prediction", "probability"]).to_pylist()
            assert found == in_json(api, penguin_rows(table))
    manifest = json.loads(client.get_object(Bucket=DATA, Key="out/day=1/part.manifest.json")["Body"].read())
    head = client.head_object(Bucket=DATA, Key="in/day=1/part.parquet")
    assert manifest["input"]["identity"]["etag"] == head["ETag"].strip('"')
    assert manifest["model"]["digest"] == pins_on_s3["MODEL_DIGEST"]

    again, _ = score(pins_on_s3, *options[:4])
    assert (again["scored"], again["skipped"]) == (0, 7)
    client.put_object(Bucket=DATA, Key="in/day=9/rest.csv", Body=csv_of(tables["day=2/part"]))
    again, _ = score(pins_on_s3, *options[:4])
    assert (again["scored"], again["skipped"]) == (1, 6)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_no_finished_file_and_the_next_run_continues(
    pins: dict[str, str], tmp_path: Path, how: signal.Signals
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    pq.write_table(penguins_table(100), source / "a.parquet")
    table = penguins_table(400_000)
    pq.write_table(table, source / "b.parquet")
    options = ("--input", f"{source}/*", "--output", str(target), "--progress-seconds", "0.1")
    process = start(pins, *options)
    assert process.stderr
    for line in process.stderr:
        if "scoring" in line and "b.parquet" in line:
            break
    process.send_signal(how)
    process.communicate()
    assert process.returncode == (-how if how == signal.SIGKILL else 130)
    left = sorted(path.name for path in target.iterdir() if not path.name.startswith("."))
    assert left == ["a.manifest.json", "a.parquet"]
    assert any(path.name.startswith(".") for path in target.iterdir()) == (how == signal.SIGKILL)

    summary, _ = score(pins, *options)
    assert (summary["skipped"], summary["scored"], summary["rows"]) == (1, 1, 400_000)
    assert sorted(path.name for path in target.iterdir()) == [
        "a.manifest.json", "a.parquet", "b.manifest.json", "b.parquet",
    ]  # fmt: skip
    assert pq.read_table(target / "b.parquet")["id"].equals(table["id"])


def test_a_kill_while_answers_are_uploaded_leaves_no_object(
    pins_on_s3: dict[str, str], s3: S3Store, tmp_path: Path
) -> None:
    client = s3_client(s3.url, "us-east-1", s3.writer.access_key, s3.writer.secret_key)
    place = S3Place(client, f"s3://{DATA}/killed")
    path = tmp_path / "answers"
    path.write_bytes(os.urandom(70 << 20))

    sent = []

    def interrupt(model: Any, **_: Any) -> None:
        sent.append(model.name)
        if len(sent) == 3:
            raise KeyboardInterrupt

    client.meta.events.register("before-call.s3.UploadPart", interrupt)
    with pytest.raises(KeyboardInterrupt):
        place.publish(path, "one.parquet")
    assert place.bytes("one.parquet") is None
    assert not s3.client(s3.writer).list_multipart_uploads(Bucket=DATA).get("Uploads")
    sent.extend(["", "", ""])
    assert place.publish(path, "one.parquet").bytes == 70 << 20
    with place.take("one.parquet") as taken:
        assert taken.path.read_bytes() == path.read_bytes()


def test_an_object_that_is_replaced_while_it_is_read(pins_on_s3: dict[str, str], s3: S3Store) -> None:
    client = s3_client(s3.url, "us-east-1", s3.writer.access_key, s3.writer.secret_key)
    place = S3Place(client, f"s3://{DATA}/changing")

    def put(text: bytes) -> Identity:
        client.put_object(Bucket=DATA, Key="changing/one.csv", Body=text)
        return place.identity("one.csv")

    put(b"a,b\n1,2\n")
    with place.take("one.csv") as taken:
        assert taken.path.read_bytes() == b"a,b\n1,2\n"
        put(b"a,b\n3,4\n")
        with pytest.raises(InputChangedError):
            taken.check()
    before = place.identity("one.csv")
    put(b"a,b\n5,6\n")

    class Late(S3Place):
        """A store that returns an older identity, as if the object was replaced between two requests."""

        def identity(self, name: str) -> Identity:
            return before

    with pytest.raises(InputChangedError), Late(client, f"s3://{DATA}/changing").take("one.csv"):
        pass


@pytest.fixture
def proxied(s3: S3Store, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The store behind a proxy, and the file that sets what the proxy does to connections."""
    port, rule = free_port(), tmp_path / "fault"
    rule.write_text("pass")
    command = [sys.executable, "-m", "tests.faults.proxy", str(port), s3.url.rpartition(":")[2], str(rule)]
    with Server("proxy", command, url=f"http://{LOOPBACK}:{port}", ready_path="/status", log=tmp_path / "proxy.log"):
        yield f"http://{LOOPBACK}:{port}", rule


def test_a_store_that_is_cut_off_during_a_download(
    pins_on_s3: dict[str, str], s3: S3Store, proxied: tuple[str, Path]
) -> None:
    url, rule = proxied
    content = os.urandom(24 << 20)
    s3.client(s3.writer).put_object(Bucket=DATA, Key="cut/one.parquet", Body=content)
    place = S3Place(s3_client(url, "us-east-1", s3.writer.access_key, s3.writer.secret_key), f"s3://{DATA}/cut")

    rule.write_text("slow")
    changes = threading.Timer(1.0, lambda: rule.write_text("pass"))
    changes.start()
    with place.take("one.parquet") as taken:
        assert taken.path.read_bytes() == content
    changes.join()

    rule.write_text("unavailable")
    time.sleep(0.1)
    with pytest.raises(StoreUnavailableError), place.take("one.parquet"):
        pass


def test_a_store_that_is_down_ends_the_job_with_an_error(pins: dict[str, str]) -> None:
    away = {**pins, "S3_ENDPOINT_URL": f"http://{LOOPBACK}:{free_port()}", "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b"}  # fmt: skip
    _, said = score(away, "--input", "s3://tables/in/*.csv", "--output", "s3://tables/out", status=1)
    assert "the store does not answer" in said
    gone = {**away, "MODEL_URI": "s3://mlflow/penguins"}
    options = ("--input", "s3://tables/in/*.csv", "--output", "s3://tables/out", "--load-seconds", "1")
    _, said = score(gone, *options, status=1)
    assert "S3 does not answer" in said


def test_wrong_settings_are_named(pins: dict[str, str], tmp_path: Path) -> None:
    _, said = score(pins, "--output", str(tmp_path), status=2)
    assert "SCORE_INPUT is not set" in said
    _, said = score({}, "--input", "x.csv", "--output", str(tmp_path), status=2)
    assert "MODEL_VERSION is not set" in said
    _, said = score(pins, "--input", "x.csv", "--output", str(tmp_path), "--shard", "2", "--shards", "2", status=2)
    assert "shards count from 0" in said
    _, said = score({}, "--release", f"{tmp_path}/release.yaml", "--input", "x", "--output", str(tmp_path), status=2)
    assert "there is no such file" in said

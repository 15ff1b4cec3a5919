"""ghz without a load: its arguments, the parsing of its report, and the text for the document."""

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from bench.fortio import Measured
from bench.ghz import Calls, arguments, read
from bench.measure import Sample
from bench.peers import calls, calls_report
from bench.peers.results import ModelRun, Run, SubjectRun
from bench.program import LoadFailedError
from serving.rpc import schema

CALLS = Calls("127.0.0.1:9", "a.B.C", Path("p"), Path("b"), 16, 2.0)
REPORT = """{"count": 300, "total": 1500000000, "statusCodeDistribution": {"OK": 300}, "errorDistribution": {},
"latencyDistribution": [{"percentage": 50, "latency": 400000}, {"percentage": 99, "latency": 2000000}], "rps": 200}"""


def test_calls_are_counted_with_their_latencies() -> None:
    found = read(REPORT, CALLS)

    assert found == Measured(300, 1.5, p50_ms=0.4, p99_ms=2.0)
    assert found.rate == 200


def test_a_call_that_fails_makes_the_load_fail() -> None:
    failed = REPORT.replace('{"OK": 300}', '{"OK": 299, "Unavailable": 1}').replace(
        '"errorDistribution": {}', '"errorDistribution": {"too many": 1}'
    )

    with pytest.raises(LoadFailedError, match=r"'Unavailable': 1.*too many"):
        read(failed, CALLS)


def test_each_call_in_progress_has_a_connection() -> None:
    given = arguments(CALLS)

    assert [given[given.index(name) + 1] for name in ("-c", "--connections", "-z")] == ["16", "16", "2.0s"]
    assert given[-1] == "127.0.0.1:9"


def test_requests_and_methods_are_those_of_the_protocol(tmp_path: Path) -> None:
    [subject, *_] = calls.everything()
    requests = subject.requests("iris")

    batch = schema.message("ModelInferRequest").FromString(requests["grpc-batch"].body)
    assert (batch.model_name, list(batch.inputs[0].shape)) == ("iris", [1000, 4])
    assert len(batch.raw_input_contents[0]) == 1000 * 4 * 8
    described = FileDescriptorSet.FromString(calls.write_descriptors(tmp_path / "p").read_bytes())
    [service] = described.file[0].service
    assert requests["grpc-row"].path in {f"inference.{service.name}.{method.name}" for method in service.method}


def test_the_report_judges_by_single_rows_over_many_connections() -> None:
    def subject(key: str, per_core: float) -> SubjectRun:
        sample = Sample(Measured(1000, 1.0, p50_ms=1.0, p99_ms=2.0), per_core)
        return SubjectRun(key, key.upper(), memory_mb=[100.0], samples={plan.key: [sample] for plan in calls.PLANS})

    subjects = [subject("ours", 2000.0), subject("mlserver", 400.0), subject("kserve", 1000.0)]
    text = calls_report.text(Run("2026-01-01", "one machine.", 1, 2.0, [], [ModelRun(calls.NAME, subjects)]))

    assert "| MLSERVER | 5.0 (5.0 to 5.0) |" in text
    assert "| times MLSERVER | at least 4 | 5.00 (5.00 to 5.00) | met |" in text
    assert "| times KSERVE | at least 4 | 2.00 (2.00 to 2.00) | **missed** |" in text

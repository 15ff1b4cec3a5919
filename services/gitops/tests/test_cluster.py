"""How kubectl is called and its errors are reported, with a program in its place."""

import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from gitops.cluster.client import Cluster
from gitops.errors import BadInputError, OutageError
from gitops.programs import ProgramFailedError, ProgramMissingError, run

REFUSED = "Unable to connect to the server: dial tcp 127.0.0.1:6443: connect: connection refused"


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a program `kubectl`, which is on PATH before the system's programs; `calls` records its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr("gitops.cluster.client._PAUSES", (0.0, 0.0))
    return folder


def program(folder: Path, body: str) -> None:
    path = folder / "kubectl"
    heading = (
        f"#!{sys.executable}\nimport os, sys, time\nfrom pathlib import Path\ncalls = Path({str(folder / 'calls')!r})\n"
    )
    note = "with calls.open('a') as file: file.write(' '.join(sys.argv[1:]) + '\\n')\n"
    path.write_text(heading + note + "before = len(calls.read_text().splitlines())\n" + textwrap.dedent(body))
    path.chmod(0o755)


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_objects_are_applied_server_side_and_secrets_are_on_no_command_line(kubectl: Path) -> None:
    program(kubectl, "(calls.parent / 'stdin').write_text(sys.stdin.read())")
    Cluster("there").apply([{"kind": "Secret", "metadata": {"name": "x"}, "stringData": {"password": "s3cret"}}])
    (call,) = calls(kubectl)
    assert call.startswith("--context there ")
    assert "--server-side --force-conflicts --field-manager gitops" in call
    assert "s3cret" not in call
    assert "s3cret" in (kubectl / "stdin").read_text()


def test_deletion_includes_dependents_unless_they_are_orphaned(kubectl: Path) -> None:
    program(kubectl, "")
    for orphan in (False, True):
        Cluster().delete(["statefulsets.apps"], namespace="data", names=["postgres"], orphan=orphan)
    usual, orphaned = calls(kubectl)
    assert "--cascade" not in usual
    assert "delete statefulsets.apps --namespace data postgres --cascade=orphan --ignore-not-found" in orphaned


def test_an_object_that_is_deleted_meanwhile_does_not_fail_the_annotation(kubectl: Path) -> None:
    gone = 'Error from server (NotFound): applications.argoproj.io "wine-staging" not found'
    program(kubectl, f"sys.exit({gone!r})")
    Cluster().annotate_all("applications.argoproj.io", "argocd", "a=b")
    program(kubectl, f"sys.exit({gone + chr(10) + 'Error from server (Forbidden): no'!r})")
    with pytest.raises(ProgramFailedError, match="Forbidden"):
        Cluster().annotate_all("applications.argoproj.io", "argocd", "a=b")


def test_a_short_outage_of_the_server_is_retried(kubectl: Path) -> None:
    program(
        kubectl,
        f"""
        if before < 3:
            sys.exit({REFUSED!r})
        print('{{"items": [{{"metadata": {{"name": "node"}}}}]}}')
    """,
    )
    assert [node["metadata"]["name"] for node in Cluster().items("nodes")] == ["node"]
    assert len(calls(kubectl)) == 3


def test_retries_end_and_impatient_requests_are_not_retried(kubectl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(kubectl, f"sys.exit({REFUSED!r})")
    with pytest.raises(OutageError, match="The cluster does not answer"):
        Cluster().items("nodes")
    assert len(calls(kubectl)) == 3
    with pytest.raises(OutageError):
        Cluster(patient=False).items("nodes")
    assert len(calls(kubectl)) == 4


@pytest.mark.parametrize(
    "said",
    [
        "Error from server (TooManyRequests): the server has received too many requests and has asked us to try again",
        "Error from server (Timeout): the server was unable to return a response in the time allotted",
        'Get "https://10.0.0.1:6443/api": http2: client connection lost',
        'Get "https://10.0.0.1:6443/api": http2: server sent GOAWAY and closed the connection',
        'Get "https://10.0.0.1:6443/api": unexpected EOF',
    ],
)
def test_a_busy_server_or_a_broken_connection_is_an_outage(kubectl: Path, said: str) -> None:
    """All of these occurred during real bootstraps of twenty minutes. A short outage must not end one."""
    program(kubectl, f"sys.exit({said!r})")
    with pytest.raises(OutageError, match="The cluster does not answer"):
        Cluster(patient=False).items("nodes")


def test_a_missing_configuration_is_bad_input_and_no_outage(kubectl: Path) -> None:
    program(kubectl, "sys.exit('error: current-context is not set')")
    with pytest.raises(BadInputError, match="Set KUBECONFIG or --context"):
        Cluster().context()
    program(kubectl, "sys.exit('error: context \"prod\" does not exist')")
    with pytest.raises(BadInputError, match="Set KUBECONFIG or --context"):
        Cluster("prod").items("nodes")


def test_a_kind_that_the_cluster_lacks_has_no_objects(kubectl: Path) -> None:
    program(kubectl, """sys.exit("error: the server doesn't have a resource type \\"applications\\"")""")
    assert Cluster().items("applications.argoproj.io") == []
    assert Cluster().find("applications.argoproj.io", "root", "argocd") is None


def test_creating_an_existing_object_returns_false(kubectl: Path) -> None:
    program(kubectl, """sys.exit('Error from server (AlreadyExists): secrets "x" already exists')""")
    assert Cluster().create({"kind": "Secret", "metadata": {"name": "x"}}) is False
    program(kubectl, """sys.exit('Error from server (Forbidden): secrets is forbidden')""")
    with pytest.raises(ProgramFailedError, match="Forbidden"):
        Cluster().create({"kind": "Secret", "metadata": {"name": "x"}})


def test_a_port_forward_ends_with_its_block(kubectl: Path) -> None:
    program(
        kubectl,
        """
        (calls.parent / "pid").write_text(str(os.getpid()))
        print("Forwarding from 127.0.0.1:40123 -> 5000", flush=True)
        time.sleep(60)
    """,
    )
    with Cluster().forwarded("ml-pipeline", "mlflow", 5000) as url:
        assert url == "http://127.0.0.1:40123"
        pid = int((kubectl / "pid").read_text())
    assert calls(kubectl) == ["port-forward --namespace ml-pipeline service/mlflow :5000"]
    assert not psutil.pid_exists(pid)


def test_a_service_without_pods_is_an_outage_in_kubectls_words(kubectl: Path) -> None:
    program(kubectl, "sys.exit('error: unable to forward port because pod is not running')")
    with (
        pytest.raises(OutageError, match=r"ml-pipeline/mlflow cannot be reached.*pod is not running"),
        Cluster().forwarded("ml-pipeline", "mlflow", 5000),
    ):
        pytest.fail("there is nothing to reach")


def test_an_outage_of_a_port_forward_is_without_kubectls_log(kubectl: Path) -> None:
    line = """E1130 21:44:48.955972    2777 memcache.go:265] "Unhandled Error" err="dial tcp: connection refused" """
    program(kubectl, f"sys.exit({line!r} + chr(10) + {line!r} + chr(10) + 'The connection was refused')")
    with (
        pytest.raises(OutageError, match=r"through kubectl port-forward: The connection was refused$"),
        Cluster().forwarded("ml-pipeline", "mlflow", 5000),
    ):
        pytest.fail("there is nothing to reach")


def test_a_missing_program_and_a_hanging_one_are_different_errors() -> None:
    with pytest.raises(ProgramMissingError, match="none-such is required but was not found"):
        run(["none-such"])
    with pytest.raises(OutageError, match="did not end within 0 s"):
        run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.2)
    with pytest.raises(ProgramFailedError, match=r"failed with status 3: last words"):
        run([sys.executable, "-c", "import sys; print('last words', file=sys.stderr); sys.exit(3)"])

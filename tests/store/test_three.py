"""Three real SeaweedFS servers with the chart's own arguments: any one may stop and return, or lose its disk."""

import contextlib
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import boto3
import httpx
import msgspec
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from embedded.processes import LOOPBACK, ServerFailedError
from tests.observability import sources
from tests.support import seaweedfs, seaweedfs_three
from tests.support.s3 import Target, client, random_keys
from tests.support.seaweedfs_three import Node, Three

pytestmark = pytest.mark.skipif(not seaweedfs_three.NEEDED, reason=seaweedfs_three.WITHOUT)
# Seconds. Long, because the machine may be busy: the tests check that something happens, not when.
PATIENCE = 120.0


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    with seaweedfs_three.running(tmp_path_factory.mktemp("three")) as store:
        yield store


def patient(target: Target, user: str = "mlflow") -> Any:
    """Return a client with retries, as those of the pipeline have."""
    retries = Config(
        retries={"total_max_attempts": 8, "mode": "standard"}, connect_timeout=2, read_timeout=15,
        s3={"addressing_style": "path"},
    )  # fmt: skip
    keys = target.users[user]
    return boto3.client(
        "s3", endpoint_url=target.url, region_name="us-east-1", config=retries,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"], aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"not after {PATIENCE:.0f} s: {what}"
        time.sleep(0.5)


class Traffic(msgspec.Struct):
    """The keys that were written during something, and the failures in spite of retries."""

    written: list[str] = []
    failed: list[str] = []

    def goes_on(self, count: int = 15) -> None:
        """Wait for this many more writes."""
        wanted = len(self.written) + count
        eventually(lambda: len(self.written) >= wanted or bool(self.failed), "further writes")


@contextlib.contextmanager
def traffic(target: Target, prefix: str) -> Iterator[Traffic]:
    """Write and read one object after the other, until the block ends."""
    seen, stop = Traffic(), threading.Event()
    writer, reader = patient(target), patient(target, "serving")

    def run() -> None:
        number = 0
        while not stop.wait(0.05):
            key, number = f"{prefix}/{number}", number + 1
            try:
                writer.put_object(Bucket=target.models, Key=key, Body=key.encode())
                seen.written.append(key)
                reader.get_object(Bucket=target.models, Key=seen.written[number // 2])["Body"].read()
            except (BotoCoreError, ClientError) as error:
                seen.failed.append(f"{key}: {error}")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def there(target: Target, keys: list[str]) -> bool:
    """Return whether every key can be read, without retries."""
    reader = target.client("serving")
    return all(reader.get_object(Bucket=target.models, Key=key)["Body"].read() == key.encode() for key in keys)


def metric(node: Node, name: str) -> list[float]:
    text = httpx.get(f"http://{LOOPBACK}:{node.ports['metrics']}/metrics", timeout=10).text
    return [float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)]


def leading(servers: Three) -> list[Node]:
    """Return the leading master, or none while they elect one."""
    return [node for node in servers.nodes if node.running and metric(node, "SeaweedFS_master_is_leader") == [1.0]]


def leader(servers: Three) -> Node:
    eventually(lambda: bool(leading(servers)), "a master that leads")
    return leading(servers)[0]


def asked(url: str, content: dict[str, Any]) -> bool:
    """Change etcd's members as etcdctl does. A leader that was just elected may never answer the first request."""
    with contextlib.suppress(httpx.TimeoutException):
        answer = httpx.post(url, json=content, timeout=5)
        return answer.is_success or "member not found" in answer.text or "already exists" in answer.text
    return False


def copies_complete(servers: Three) -> bool:
    """Return whether the leading master reports two servers for every volume."""
    with contextlib.suppress(IndexError, httpx.HTTPError):
        missing = metric(leading(servers)[0], "SeaweedFS_master_replica_placement_mismatch")
        return bool(missing) and not any(missing)
    return False


def lost_and_back(servers: Three, node: Node, prefix: str) -> None:
    rest = [other for other in servers.nodes if other is not node]
    with traffic(servers.target(), prefix) as seen:
        seen.goes_on()
        node.kill()
        seen.goes_on()
        for other in rest:
            assert there(servers.target(other), [*seen.written])
        servers.start(node)
        seen.goes_on()
    assert seen.failed == []
    # Read everything through the server that was down.
    assert there(servers.target(node), seen.written)
    eventually(partial(copies_complete, servers), "two copies of each volume")


def test_a_follower_may_stop(servers: Three) -> None:
    node = next(node for node in servers.nodes if node is not leader(servers))
    lost_and_back(servers, node, "follower")


def test_the_leader_may_stop(servers: Three) -> None:
    lost_and_back(servers, leader(servers), "leader")


def test_new_keys_reach_running_servers_at_once_and_a_stopped_one_later(servers: Three) -> None:
    away = servers.nodes[2]
    held = seaweedfs.keys(servers.mounts)["serving"]
    fresh = random_keys()
    away.kill()
    servers.mounts.write("serving", {**held, **{key.replace("AWS_", "NEXT_"): value for key, value in fresh.items()}})
    assert f"{away.url} does not answer. It reads its users when it starts." in servers.provision()
    for node in servers.nodes[:2]:
        for values in (held, fresh):
            client(node.url, values).list_objects_v2(Bucket="mlflow")
    servers.mounts.write("serving", fresh)
    servers.start(away)
    servers.provision()
    client(away.url, fresh).list_objects_v2(Bucket="mlflow")
    for node in servers.nodes:
        with pytest.raises(ClientError, match="InvalidAccessKeyId"):
            client(node.url, held).list_objects_v2(Bucket="mlflow")


def test_all_servers_are_consistent_at_once(servers: Three) -> None:
    clients = [servers.target(node).client("mlflow") for node in servers.nodes]

    def once(writer: Any, key: str) -> bool:
        try:
            writer.put_object(Bucket="mlflow", Key=key, Body=b"x", IfNoneMatch="*")
        except ClientError as error:
            assert error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict")  # noqa: PT017
            return False
        return True

    for number in range(10):
        with ThreadPoolExecutor(len(clients)) as pool:
            won = list(pool.map(partial(once, key=f"once/{number}"), clients))
        assert won.count(True) == 1
        for reader in clients:
            assert reader.get_object(Bucket="mlflow", Key=f"once/{number}")["Body"].read() == b"x"


def test_servers_export_the_metrics_of_alerts_and_panels(servers: Three) -> None:
    node = leader(servers)
    exported = {
        name: sources.in_text(httpx.get(f"http://{LOOPBACK}:{node.ports[port]}/metrics", timeout=10).text)
        for name, port in (("SeaweedFS", "metrics"), ("etcd of SeaweedFS", "state"))
    }
    assert {name: sources.ELSEWHERE[name] - found for name, found in exported.items()} == {
        name: set() for name in exported
    }


def test_a_lost_disk_is_replaced_as_the_runbook_says(servers: Three) -> None:
    with traffic(servers.target(), "disk") as seen:
        seen.goes_on()
    node = servers.nodes[1]
    node.kill()
    shutil.rmtree(node.folder)
    with pytest.raises(ServerFailedError, match="etcd ended"):
        servers.start(node)
    node.kill()
    assert "has already been bootstrapped" in (node.folder / "etcd.log").read_text()

    # As by hand: etcdctl member list, remove, add; then joining: true.
    cluster = f"http://{LOOPBACK}:{servers.nodes[0].ports['clients']}/v3/cluster/member"
    members = httpx.post(f"{cluster}/list", json={}, timeout=10).json()["members"]
    gone = next(member["ID"] for member in members if member["name"] == "seaweedfs-1")
    eventually(partial(asked, f"{cluster}/remove", {"ID": gone}), "the lost member removed")
    eventually(partial(asked, f"{cluster}/add", {"peerURLs": [node.peer]}), "a new member added")
    shutil.rmtree(node.folder)
    servers.joining = node
    servers.start(node)
    servers.joining = None

    # The leading master runs this script every 17 minutes.
    script = servers.rendering.config["master.toml"]
    commands = re.findall(r"^ {2}((?:un)?lock|volume\.fix\.replication.*)$", script, re.MULTILINE)
    assert len(commands) == 3
    eventually(lambda: len(metric(node, "SeaweedFS_volumeServer_max_volumes")) == 1, "the server is back")

    def fixed() -> bool:
        servers.shell(servers.nodes[0], "\n".join(commands) + "\n")
        return copies_complete(servers)

    eventually(fixed, "two copies of each volume")
    servers.nodes[2].kill()
    # The new disk and one other server have everything.
    assert there(servers.target(servers.nodes[0]), seen.written)
    servers.start(servers.nodes[2])


def test_one_server_alone_answers_nothing_and_loses_nothing(servers: Three) -> None:
    with traffic(servers.target(), "alone") as seen:
        seen.goes_on()
    last, *others = servers.nodes
    for node in others:
        node.kill()
    eventually(lambda: not last.is_up(), "not ready, so that the Service sends no requests")
    servers.start(*others)
    eventually(last.is_up, "ready again")
    assert there(servers.target(last), seen.written)


@pytest.mark.parametrize(("metadata", "made_by", "said"), [("own", "etcd", "three"), ("shared", "filerldb2", "one")])
def test_a_store_keeps_its_number_of_servers(
    tmp_path_factory: pytest.TempPathFactory, metadata: str, made_by: str, said: str
) -> None:
    folder = tmp_path_factory.mktemp("disk")
    (folder / made_by).mkdir()
    done = subprocess.run(
        ["sh", seaweedfs.FILES / "serve.sh", "version"],
        env={"METADATA": metadata, "DATA_DIR": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"made by a store with replicas: {said}" in done.stderr

"""Three real SeaweedFS servers that form one store, each with an etcd, started from the chart rendered for three pods.
Each pod's address is replaced by separate ports."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx

from embedded.processes import LOOPBACK, Server, free_ports, program
from tests.support import guard, helm, s3, seaweedfs

ETCD = shutil.which("etcd")
NEEDED = ETCD is not None and guard.PROGRAM is not None
WITHOUT = "etcd or HAProxy is not installed: apt-get install etcd-server haproxy"
_SCENARIO = [path.stem for path in helm.scenarios("seaweedfs")].index("4-three")
_PARTS = ("master", "volume", "filer")
_PORTS = ("s3", "metrics", "peers", "clients", "state", "s3.grpc", *_PARTS, *(f"{part}.grpc" for part in _PARTS))


class Node:
    """One pod: a server and its etcd, with a disk that outlives them."""

    def __init__(self, index: int, folder: Path, ports: list[int]) -> None:
        """Set the paths and ports of this pod."""
        self.index = index
        self.folder = folder
        self.ports = dict(zip(_PORTS, ports, strict=True))
        self.url = f"http://{LOOPBACK}:{self.ports['s3']}"
        self.running: list[Server] = []

    @property
    def peer(self) -> str:
        """Return the address at which other members of etcd find this one."""
        return f"http://{LOOPBACK}:{self.ports['peers']}"

    @property
    def master(self) -> str:
        """Return the master's address in SeaweedFS's notation, with both ports."""
        return f"{LOOPBACK}:{self.ports['master']}.{self.ports['master.grpc']}"

    def kill(self) -> None:
        """End all of its processes at once, as a loss of power does."""
        for server in self.running:
            seaweedfs.end_at_once(server)
        self.running = []

    def is_up(self) -> bool:
        """Return whether its pod would be ready: both the server and its etcd report it."""
        try:
            healths = [f"{self.url}/healthz", f"http://{LOOPBACK}:{self.ports['state']}/health"]
            return bool(self.running) and all(httpx.get(url, timeout=5).status_code == 200 for url in healths)
        except httpx.HTTPError:
            return False


class Three:
    """The store of three servers."""

    def __init__(self, folder: Path) -> None:
        """Choose all paths and ports. Nothing runs yet."""
        self.rendering = seaweedfs.rendered(_SCENARIO)
        self.folder = folder
        self.mounts = seaweedfs.mounts(folder, self.rendering)
        count = len(_PORTS)
        self.balancer, *ports = free_ports(1 + 3 * count)
        self.nodes = [Node(i, folder / f"node-{i}", ports[i * count : (i + 1) * count]) for i in range(3)]
        self.joining: Node | None = None
        """The server that starts as with `nodes.metadata.joining`."""

    def start(self, *nodes: Node) -> None:
        """Start these servers, or all, as Kubernetes does: at the same time, each server once its etcd has a leader."""
        starting = nodes or self.nodes
        for node in starting:
            node.folder.mkdir(exist_ok=True)
            (node.folder / ".seaweedfs").mkdir(exist_ok=True)
            for name in ("filer.toml", "master.toml"):
                text = self.rendering.config[name].replace(":2379", f":{node.ports['clients']}")
                (node.folder / ".seaweedfs" / name).write_text(text)
            node.running = [self._etcd(node)]
            node.running[0].start()
        for node in starting:
            node.running[0].wait_ready()
            node.running.append(self._server(node))
            node.running[1].start()
        for node in starting:
            node.running[1].wait_ready()

    def provision(self, *, seconds: int = 60) -> str:
        """Run the Job's script."""
        nodes = [node.url for node in self.nodes]
        up = next(node.url for node in self.nodes if node.running)
        return self.mounts.provision(self.rendering, up, *nodes, seconds=seconds)

    def target(self, node: Node | None = None) -> s3.Target:
        """Return the store, through its Service or through one server."""
        url = node.url if node else f"http://{LOOPBACK}:{self.balancer}"
        return s3.Target("SeaweedFS on three nodes", url, seaweedfs.keys(self.mounts))

    def _etcd(self, node: Node) -> Server:
        container = self.rendering.metadata
        members = ",".join(f"seaweedfs-{other.index}={other.peer}" for other in self.nodes)
        clients = f"http://{LOOPBACK}:{node.ports['clients']}"
        state = f"http://{LOOPBACK}:{node.ports['state']}"
        changed = {
            "--name=": f"seaweedfs-{node.index}",
            "--data-dir=": node.folder / "data" / "etcd",
            "--initial-cluster=": members,
            "--initial-cluster-state=": "existing" if node is self.joining else "new",
            "--initial-advertise-peer-urls=": node.peer,
            "--listen-peer-urls=": node.peer,
            "--listen-client-urls=": clients,
            "--advertise-client-urls=": clients,
            "--listen-metrics-urls=": state,
        }
        (node.folder / "data").mkdir(exist_ok=True)
        arguments = [
            next((f"{name}{value}" for name, value in changed.items() if argument.startswith(name)), argument)
            for argument in container["args"]
        ]
        path = container["startupProbe"]["httpGet"]["path"]
        return Server("etcd", [str(ETCD), *arguments], url=state, ready_path=path, log=node.folder / "etcd.log")

    def _server(self, node: Node) -> Server:
        masters = ",".join(other.master for other in self.nodes)
        changed = {
            "-ip=": LOOPBACK, "-ip.bind=": LOOPBACK, "-master.peers=": masters,
            "-s3.ip.bind=": LOOPBACK, "-s3.port=": node.ports["s3"],
            "-metricsIp=": LOOPBACK, "-metricsPort=": node.ports["metrics"], "-volume.max=": 60,
        }  # fmt: skip
        more = [f"-{part}.port={node.ports[part]}" for part in _PARTS]
        more += [f"-{part}.port.grpc={node.ports[f'{part}.grpc']}" for part in (*_PARTS, "s3")]
        more += [f"-{part}.localSocket={node.folder / part}.sock" for part in ("s3", "filer")]
        # By default, a server copies no volume from the loopback address.
        more += ["-volume.allowUntrustedRemoteEndpoints=true"]
        return seaweedfs.server(self.rendering, self.mounts, node.folder, changed, more)

    def shell(self, node: Node, script: str) -> str:
        """Run commands in SeaweedFS's own shell on a server, and return their output."""
        filer = f"{LOOPBACK}:{node.ports['filer']}.{node.ports['filer.grpc']}"
        done = subprocess.run(
            [program("weed"), "shell", f"-master={','.join(other.master for other in self.nodes)}", f"-filer={filer}"],
            input=script, capture_output=True, text=True, timeout=120, check=True, cwd=self.folder,
        )  # fmt: skip
        return done.stdout + done.stderr


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Three]:
    """Run the servers with data in `folder`. HAProxy is their Service: it sends requests only to healthy servers."""
    store = Three(folder)
    config = folder / "balancer.cfg"
    servers = "".join(
        f"  server node{node.index} {LOOPBACK}:{node.ports['s3']} check inter 500 fall 2 rise 1\n"
        for node in store.nodes
    )
    config.write_text(
        "defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n"
        f"frontend s3\n  bind {LOOPBACK}:{store.balancer}\n  default_backend nodes\n"
        f"backend nodes\n  balance roundrobin\n  option redispatch\n  option httpchk GET /healthz\n{servers}"
    )
    url = f"http://{LOOPBACK}:{store.balancer}"
    balancer = Server(
        "HAProxy", [str(guard.PROGRAM), "-db", "-f", str(config)], url=url, ready_path="/healthz",
        log=folder / "balancer.log", environment={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    try:
        store.start()
        with balancer:
            store.provision()
            yield store
    finally:
        for node in store.nodes:
            node.kill()

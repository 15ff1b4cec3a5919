"""The serving API alone, as in the comparison with peers: with a newly trained model, on one processor."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.measure import processors
from bench.peers import models
from bench.peers.environments import prepare
from bench.peers.loads import Requests
from bench.peers.subjects import OURS, Place, everything
from embedded.processes import Server, stopped_by_signals


class Own(msgspec.Struct, frozen=True):
    """The running server, every kind of request for its model, and a folder for files."""

    server: Server
    requests: Requests
    folder: Path


@contextlib.contextmanager
def own_server() -> Iterator[Own]:
    """Train a logistic regression on iris, and serve it inside the block. Signals stop it too."""
    with stopped_by_signals(), tempfile.TemporaryDirectory(prefix="load-") as name:
        folder = Path(name)
        [ours] = [subject for subject in everything() if subject.key == OURS]
        model = models.train("logistic-regression", folder)
        place = folder / "server"
        place.mkdir()
        with ours.server(Place(prepare(ours.environment), model, place, processors().server)) as server:
            server.wait_ready()
            yield Own(server, ours.requests(model.name), folder)

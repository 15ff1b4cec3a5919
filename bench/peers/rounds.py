"""Starts every server once, then measures them in interleaved rounds.

All servers of a model run all the time, each pinned to the same processor, and are idle while another is measured.
Within a round every load goes to one server after another: if the machine's speed changes, it changes for all of them.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench import fortio, ghz
from bench.measure import Processors, Sample, costing, resident_mb, sample
from bench.peers.environments import EnvironmentFailedError, prepare
from bench.peers.loads import RATE_CONNECTIONS, Plan, Requests
from bench.peers.models import Model
from bench.peers.results import ModelRun, SubjectRun
from bench.peers.subjects import Place, Subject
from bench.program import LoadFailedError
from embedded.processes import LOOPBACK, Server, ServerFailedError, free_port

_READY_SECONDS = 180.0


class Options(msgspec.Struct, frozen=True):
    """How to measure."""

    fortio: Path
    ghz: Path
    descriptors: Path
    """The descriptors of the methods that ghz calls."""
    rounds: int
    seconds: float
    plans: Sequence[Plan]
    processors: Processors


class _Running(msgspec.Struct, frozen=True):
    server: Server
    requests: Requests
    bodies: Path
    result: SubjectRun
    grpc: str
    """The address for gRPC calls."""


def measure(model: Model, subjects: Sequence[Subject], folder: Path, options: Options) -> ModelRun:
    """Measure all servers with one model. Servers that do not start are left out, with the reason in their result.

    Args:
        model: what they serve.
        subjects: the servers.
        folder: an empty folder for their logs and settings.
        options: how to measure.
    """
    run = ModelRun(model.name, [SubjectRun(subject.key, subject.name) for subject in subjects])
    with contextlib.ExitStack() as stack:
        running = []
        for subject, result in zip(subjects, run.subjects, strict=True):
            _say(f"{model.name}: starting {subject.name}")
            try:
                running.append(stack.enter_context(_started(subject, model, folder / subject.key, result, options)))
            except (ServerFailedError, EnvironmentFailedError) as error:
                result.failures[""] = str(error)
                _say(f"{subject.name} is left out: {error}")
        for one in running:
            _say(f"{model.name}: warming up {one.result.name}")
            _measure(one, Plan(next(iter(one.requests)), RATE_CONNECTIONS), options)  # a warm-up, not kept
        for number in range(options.rounds):
            for plan in options.plans:
                _say(f"{model.name}: round {number + 1} of {options.rounds}, {plan.key}")
                for one in running:
                    _keep(one, plan, options)
            for one in (one for one in running if one.server.exit_status() is None):
                one.result.memory_mb.append(resident_mb(one.server))
    return run


@contextlib.contextmanager
def _started(subject: Subject, model: Model, folder: Path, result: SubjectRun, options: Options) -> Iterator[_Running]:
    environment = prepare(subject.environment)
    folder.mkdir(parents=True)
    port = free_port() if any(plan.is_call for plan in options.plans) else 0
    server = subject.server(Place(environment, model, folder, options.processors.server, port))
    requests = subject.requests(model.name)
    for kind, request in requests.items():
        (folder / f"{kind}.body").write_bytes(request.body)
    result.version, result.megabytes = environment.version, environment.megabytes
    try:
        server.start()
        result.ready_seconds = server.wait_ready(_READY_SECONDS)
        yield _Running(server, requests, folder, result, f"{LOOPBACK}:{port}")
    finally:
        server.stop()


def _keep(one: _Running, plan: Plan, options: Options) -> None:
    if plan.kind not in one.requests:
        return
    result = None if _beyond(one.result, plan) else _measure(one, plan, options)
    held = result is not None and (not plan.rate or result.measured.holds(plan.rate, plan.connections))
    one.result.samples.setdefault(plan.key, []).append(result if held else None)


def _beyond(result: SubjectRun, plan: Plan) -> bool:
    """Return whether the server's highest rate in this round was less than `plan.rate`."""
    latest = result.samples.get(Plan(plan.kind, RATE_CONNECTIONS).key, [None])[-1]
    return bool(plan.rate) and latest is not None and latest.measured.rate < 0.95 * plan.rate


def _measure(one: _Running, plan: Plan, options: Options) -> Sample | None:
    request, body = one.requests[plan.kind], one.bodies / f"{plan.kind}.body"
    cpus = options.processors.generator
    calls = ghz.Calls(one.grpc, request.path, options.descriptors, body, plan.connections, options.seconds)
    url = one.server.url + request.path
    load = fortio.Load(url, body, plan.connections, options.seconds, plan.rate, request.headers)
    try:
        if plan.is_call:
            return costing(one.server, lambda: ghz.run(options.ghz, calls, cpus))
        return sample(one.server, options.fortio, load, cpus)
    except LoadFailedError as error:
        one.result.failures[plan.key] = str(error)
        _say(f"{one.result.name}, {plan.key}: {error}")
        return None


def _say(what: str) -> None:
    sys.stderr.write(what + "\n")

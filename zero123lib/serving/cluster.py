"""The API on Ray Serve: replicas that hold a model each, and one front that hands them requests.

The front takes the connections, checks what comes and lets it wait; it has no model. A replica that
is asked to stop finishes what it has, while the front sends new requests to others; what a replica
that dies had is made again by another, which is the same, as an answer follows from its request.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
import torch
from fastapi import FastAPI
from ray import serve
from ray.exceptions import ObjectLostError, RayActorError, RayError
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, ReplicaState

from zero123lib._choices import Device
from zero123lib._errors import ArgumentError, RunError, one_line
from zero123lib._signals import stop_on_signals
from zero123lib._words import count
from zero123lib.app.settings import MAX_SESSIONS
from zero123lib.batch.cluster import start_ray
from zero123lib.diffusion.devices import pick_device
from zero123lib.serving.answers import Answer, Refusal
from zero123lib.serving.api import build
from zero123lib.serving.asking import Asking
from zero123lib.serving.desk import Desk
from zero123lib.serving.watching import Metrics

if TYPE_CHECKING:  # the front has no model, and the replicas no page
    from zero123lib.app.sampling import Sampling, Shown
    from zero123lib.diffusion.pipeline import Zero123Pipeline
    from zero123lib.views.images import Prepared

# The names under which Ray knows the application and its parts.
APPLICATION, FRONT, REPLICAS, PAGE = "zero123", "front", "replicas", "page"
# Of a replica: one request is with the model while another is read and cut out.
AT_ONCE = 2
# So many replicas are tried before a request is given up.
TRIES = 4
# What a replica had is lost with it: at work, or made and not fetched from its machine yet.
LOST = (RayActorError, ObjectLostError)
# Of the page: each open one holds a stream of events, and asks beside.
PAGE_REQUESTS = 4 * MAX_SESSIONS
# A replica that stops, and the whole server, finish what they have in so many seconds.
DRAIN_S = 120.0
# Open pages hold on to their streams of events for ever.
PAGE_DRAIN_S = 15.0
# Of a Ray that is started here: what is on the way between front and replicas.
_STORE_BYTES = 512 * 2**20

NONE_READY = "No replica is ready. Try again in a while."

_logger = logging.getLogger("zero123lib.serving")


@dataclass(frozen=True)
class Serving:
    """Says what is served, and where.

    Attributes:
        load: brings the model; it is called in each replica.
        replicas: how many.
        gpus_per_replica: the share of a GPU that a replica counts for, and the page too, which
            has a model as well; 0 is a CPU's.
        cpus_per_replica: its cores, and threads.
        max_queue: requests that may wait; the next is told that the server is busy.
        host, port: to listen on.
        address: of a Ray cluster; None starts Ray on this machine.
        page: whether the app's page is served too.
    """

    load: Callable[[], Zero123Pipeline]
    replicas: int = 1
    gpus_per_replica: float = 0.0
    cpus_per_replica: int = 1
    max_queue: int = 32
    host: str = "127.0.0.1"
    port: int = 8000
    address: str | None = None
    page: bool = False

    @property
    def models(self) -> int:
        """Return how many processes have the model."""
        return self.replicas + self.page


class Replica:
    """A model in a process of its own."""

    def __init__(self, load: Callable[[], Zero123Pipeline]) -> None:
        from zero123lib.serving.maker import ViewMaker

        self._maker = ViewMaker(load())

    def make(self, content: bytes, name: str, asking: Asking, number: str) -> Answer | Refusal:
        """Make views, or say why not."""
        return self._maker.make(content, name, asking, number)

    def sample(self, prepared: Prepared, what: Sampling) -> Iterator[Shown]:
        """Sample views for the page, one state after the other."""
        yield from self._maker.sampled(prepared, what)


class Front:
    """The HTTP API, over a handle of the replicas."""

    def __init__(self, replicas: DeploymentHandle, at_once: int, places: int) -> None:
        self._replicas: Any = replicas  # its methods are the replicas' own
        self._desk = Desk(at_once, places)
        self._metrics = Metrics(self._desk)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Build what Ray Serve serves."""
        # Ray's proxy gives each request a number, and tells its answer.
        return build(self.make, self.ready, self._desk, self._metrics, echoed=True)

    async def make(
        self, content: bytes, name: str, asking: Asking, number: str
    ) -> Answer | Refusal:
        """Have a replica make views; another one, where the first is lost."""
        for _ in range(TRIES):
            try:
                return await self._replicas.make.remote(content, name, asking, number)
            except LOST:
                self._metrics.again.inc()
                _logger.warning("request %s is made again: its replica was lost", number)
            except DeploymentUnavailableError:
                return Refusal(503, NONE_READY)
        return Refusal(502, f"{TRIES} replicas were lost while they made this.")

    async def ready(self) -> str | None:
        """Tell why no views can be made, if so."""
        try:
            found = await asyncio.to_thread(running_replicas)
        except RayError:
            return "The cluster does not answer."
        return None if found else NONE_READY

    async def drain(self, patience_s: float) -> int:
        """Take no more requests, and finish those that are there; how many are left in the end."""
        return await self._desk.drain(patience_s)


class Page:
    """The app's page, over a handle of the replicas."""

    def __init__(self, replicas: DeploymentHandle, what: Serving) -> None:
        self._replicas: Any = replicas.options(stream=True)
        self._what = what

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Build what Ray Serve serves."""
        from zero123lib.app.sampling import Elsewhere
        from zero123lib.serving.page import page

        what = self._what
        return page(what.load(), Elsewhere(self.sample, what.replicas), what.max_queue)

    def sample(self, model: str, prepared: Prepared, what: Sampling) -> Iterator[Shown]:
        """Have a replica sample views; another one, where the first is lost."""
        for _ in range(TRIES):
            try:
                yield from self._replicas.sample.remote(prepared, what)
                return
            except LOST:
                _logger.warning("views of the page are begun again: their replica was lost")
        raise RunError(f"{TRIES} replicas were lost while they made this")


def running_replicas(deployment: str = REPLICAS) -> int:
    """Count the replicas, or the fronts, that take requests."""
    application = serve.status().applications.get(APPLICATION)
    replicas = application.deployments.get(deployment) if application else None
    return replicas.replica_states.get(ReplicaState.RUNNING, 0) if replicas else 0


def application(what: Serving) -> serve.Application:
    """Return what Ray Serve runs."""
    actor = {"num_cpus": what.cpus_per_replica, "num_gpus": what.gpus_per_replica}
    replicas = serve.deployment(Replica).options(
        name=REPLICAS,
        num_replicas=what.replicas,
        max_ongoing_requests=AT_ONCE,
        max_queued_requests=-1,  # the front bounds them
        graceful_shutdown_timeout_s=DRAIN_S,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=2.0,
        ray_actor_options=actor,
    )
    front = serve.deployment(serve.ingress()(Front)).options(
        name=FRONT,
        num_replicas=1,  # the queue is here, and what Prometheus is told
        max_ongoing_requests=what.max_queue + AT_ONCE * what.replicas + 64,
        graceful_shutdown_timeout_s=DRAIN_S,
        ray_actor_options={"num_cpus": 0},
    )
    bound = replicas.bind(what.load)
    return front.bind(bound, AT_ONCE * what.replicas, what.max_queue)


def page_application(what: Serving) -> serve.Application:
    """Return what Ray Serve runs for the page."""
    return (
        serve.deployment(serve.ingress()(Page))
        .options(
            name=PAGE,
            num_replicas=1,  # a visitor's session is there
            max_ongoing_requests=PAGE_REQUESTS,
            graceful_shutdown_timeout_s=PAGE_DRAIN_S,
            ray_actor_options={"num_cpus": 0, "num_gpus": what.gpus_per_replica},
        )
        .bind(serve.get_deployment_handle(REPLICAS, APPLICATION), what)
    )


@contextmanager
def served(what: Serving) -> Iterator[Callable[[], bool]]:
    """Serve, from the time that it begins to last; in the end all requests that came are answered.

    Yields:
        Whether SIGTERM or SIGINT has come, which stop nothing by themselves: not while replicas
        start either, where Ray's own handlers would abort the process.

    Raises:
        ArgumentError: there is no such cluster, or too little of it.
        RunError: Ray or the replicas do not start.
    """
    connect(what)
    with stop_on_signals() as asked:
        try:
            start(what, asked)
            try:
                yield asked
            finally:
                drain()
        finally:
            stop(what)


def start(what: Serving, stopping: Callable[[], bool]) -> None:
    """Have Ray Serve run the application, and the page's.

    Args:
        what: to run.
        stopping: tells that it is no longer wanted, in which case the rest is left out.

    Raises:
        RunError: the replicas do not start.
    """
    options: Any = {"enable_access_log": False}
    serve.start(http_options={"host": what.host, "port": what.port}, logging_config=options)
    serve.run_many(
        [serve.RunTarget(application(what), APPLICATION, "/", options)],
        wait_for_applications_running=False,
    )
    _wait(APPLICATION, stopping)
    if what.page and not stopping():
        serve.run_many(
            [serve.RunTarget(page_application(what), PAGE, f"/{PAGE}", options)],
            wait_for_applications_running=False,
        )
        _wait(PAGE, stopping)


def _wait(name: str, stopping: Callable[[], bool]) -> None:
    """Wait until an application runs, or is no longer wanted."""
    while not stopping():
        state = serve.status().applications[name]
        if state.status == ApplicationStatus.RUNNING:
            return
        if state.status in (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY):
            raise RunError(f"the replicas do not start: {_reason(state)}")
        time.sleep(0.2)


def _reason(state: ApplicationStatusOverview) -> str:
    """Return the last line of a deployment's trace; without any, what the application says."""
    told = [one.message for one in state.deployments.values()] + [state.message]
    return one_line(next(filter(None, map(str.strip, told)), state.status).splitlines()[-1])


def stop(what: Serving) -> None:
    """Take from Ray what `start` gave it, and end a Ray that was started here."""
    if what.address is None:
        serve.shutdown()
    else:
        for name in serve.status().applications.keys() & {PAGE, APPLICATION}:
            serve.delete(name)
    ray.shutdown()


def drain() -> None:
    """Take no more requests, and wait until those that came are answered."""
    if not running_replicas(FRONT):
        return
    front: Any = serve.get_deployment_handle(FRONT, APPLICATION)
    with ThreadPoolExecutor(1) as thread:  # Ray does not wait where an event loop runs: a notebook
        left = thread.submit(lambda: front.drain.remote(DRAIN_S).result()).result()
    if left:
        _logger.warning("%d requests were not finished in %g s", left, DRAIN_S)


def connect(what: Serving) -> None:
    """Connect to the cluster, or start one of this machine alone; see that all models fit."""
    # Ray's workers have niceness 15, behind all else on a machine; but somebody waits for replicas.
    os.environ.setdefault("RAY_worker_niceness", "0")
    cores = max(os.cpu_count() or 1, what.cpus_per_replica * what.replicas)
    start_ray(what.address, _STORE_BYTES, cores, logging_level=logging.WARNING)
    share, there = what.gpus_per_replica, int(ray.cluster_resources().get("GPU", 0))
    # Ray counts in steps of 1e-4.
    room = there // share if share > 1 else there * int(1 / share + 1e-3) if share else what.models
    if room < what.models and what.address is None:  # a cluster may yet grow
        ray.shutdown()
        expected = f"a share that {count(what.models, 'model')} can have of {count(there, 'GPU')}"
        raise ArgumentError("gpus_per_replica", expected, f"{share:g}")


def gpu_share(models: int, device: Device, address: str | None) -> float:
    """Return the share of a GPU for each of some models where nobody says: 1, or what there is.

    Args:
        models: how many.
        device: where they run.
        address: of a Ray cluster, whose GPUs are not known yet; None is this machine.
    """
    if not pick_device(device).startswith("cuda"):
        return 0.0
    there = models if address is not None else torch.cuda.device_count()
    return 1.0 / math.ceil(models / there)
